"""VideoMAE's Vision Transformer as a dual-residual backbone."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch.nn.functional as F
import torch.utils.checkpoint as cp
from mmaction.models.backbones.vit_mae import VisionTransformer
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.backbones.branches import AttentionBranch, FeedForwardBranch
from dr2net_mm.reversible import Branch
from dr2net_mm.reversible.plan import Plan, StageCost
from dr2net_mm.reversible.replay import AutocastState

from .arguments import check_arguments

GridSize = Tuple[int, int, int]


@MODELS.register_module(force=True)
class Dr2VisionTransformer(DualResidualBackbone, VisionTransformer):
    """mmaction's VideoMAE ``VisionTransformer`` with two residual streams.

    Each block is two residual branches, attention and feed-forward. With the embedded
    tubelets x_0 and the branches F_1 … F_N of all blocks,

        y_0 = β·x_0,  x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    the norms and the pooling see x_N. Embedding, norms and pooling are mmaction's and
    are recomputed in the backward pass. Parameters have mmaction's names.

    Args:
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions`, e.g.
            ``dict(alpha=1.0, beta=0.1, arithmetic='exact')``.
        pretrained: Checkpoint that ``init_weights`` loads; mmaction's class takes this
            argument and forgets it.
        inflate_input: Whether weights of a file for another number of input channels
            are adapted to ``in_channels``, see
            :func:`dr2net_mm.backbones.base.pretrained.inflated`.
        **kwargs: Arguments of mmaction's ``VisionTransformer``.

    Raises:
        TypeError: If there is no argument of a name, which mmaction's class passes
            over.
        ValueError: If an option is unknown or out of range, the heads do not divide
            ``embed_dims``, no tubelet fits into a video, or ``with_cp`` is asked for.

    Source: Dr2Net (CVPR 2024), Eq. 1; VideoMAE (NeurIPS 2022).
    """

    plain_class = 'mmaction.VisionTransformer'
    usual_frames = 16
    checkpointed_lists = ('blocks',)
    has_own_size = True

    def __init__(
        self,
        *args: Any,
        dual_residual: Optional[dict] = None,
        pretrained: Optional[str] = None,
        inflate_input: bool = False,
        **kwargs: Any,
    ) -> None:
        check_arguments(kwargs)
        super().__init__(*args, **kwargs)
        self.inflate_input = inflate_input
        if pretrained:
            self.init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        for block in self.blocks:
            if self.embed_dims % block.attn.num_heads:
                raise ValueError(
                    f'embed_dims={self.embed_dims} cannot be shared out among '
                    f'num_heads={block.attn.num_heads}; it must be a multiple of it.'
                )
        if not self.pos_embed.shape[1]:
            tubelet = 'x'.join(map(str, self.patch_embed.projection.kernel_size))
            raise ValueError(
                f'img_size and num_frames hold no tubelet of {tubelet}; they must be '
                'at least patch_size and tubelet_size.'
            )
        self._init_dual_residual(dual_residual, 1, ('last', 'mean'))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the features of videos.

        Args:
            x: Videos [B, in_channels, T, H, W].

        Returns:
            [B, C]; with ``return_feat_map`` [B, C, T', H', W'], a feature for each
            tubelet.

        Raises:
            ValueError: If the input has another number of axes or channels, the
                position embeddings are for another number of frames, or a frame is
                smaller than a patch.
        """
        refuse_symbols(self, x)
        size = self._grid(x)
        x = self._embed(x, size)
        branches = self._branches(size)
        (out,) = self._run_stage(
            0,
            x,
            branches,
            lambda fused: (self._finish(fused, size),),
            self._finishing_modules(),
            self._plan(x, branches, size),
        )
        return out

    @classmethod
    def plain_config(cls, config: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the config of the conventional twin."""
        plain = super().plain_config(config)
        path = plain.pop('pretrained', None)
        if path:
            # mmaction's class takes this argument and forgets it.
            plain['init_cfg'] = dict(type='Pretrained', checkpoint=path)
        return plain

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks, 12 by default."""
        return [config.get('depth', 12)]

    @classmethod
    def with_depths(
        cls, config: Mapping[str, Any], depths: Sequence[int]
    ) -> Dict[str, Any]:
        """Return the arguments for another number of blocks."""
        return dict(config, depth=depths[0])

    @classmethod
    def with_frames(cls, config: Mapping[str, Any], frames: int) -> Dict[str, Any]:
        """Return the arguments with positions for a number of frames."""
        return dict(config, num_frames=frames)

    def example_size(self) -> Tuple[int, ...]:
        """Return the shape of the smallest video that has all its positions."""
        projection = self.patch_embed.projection
        frames = self.pos_embed.shape[1] // (self.grid_size[0] * self.grid_size[1])
        grid = (frames, *self.grid_size)
        size = (n * step for n, step in zip(grid, projection.stride))
        return (projection.in_channels, *size)

    def input_costs(
        self, shape: Sequence[int], branch_bytes: int = 4
    ) -> List[StageCost]:
        """Compute memory and work of each stage for an input of a shape."""
        # What is left over at the end of an axis is cut off.
        strides = self.patch_embed.projection.stride
        grid = tuple(n // step for n, step in zip(shape[2:], strides))
        return self.stage_costs(shape[0], grid, branch_bytes)

    def _grid(self, x: Tensor) -> GridSize:
        """Count tubelets along time, height and width, cut off as in mmaction."""
        name, channels = type(self).__name__, self.patch_embed.projection.in_channels
        if x.dim() != 5 or x.shape[1] != channels:
            raise ValueError(
                f'{name} takes videos [B, {channels}, T, H, W], got shape '
                f'{tuple(x.shape)}; clips of a video [B, clips, {channels}, T, H, W] '
                "are flattened by mmaction's Recognizer3D or our EndToEndLocalizer."
            )
        strides = self.patch_embed.projection.stride
        size = tuple(length // step for length, step in zip(x.shape[2:], strides))
        times = self.pos_embed.shape[1] // (self.grid_size[0] * self.grid_size[1])
        if size[0] != times:
            raise ValueError(
                f'{name} has position embeddings for {times * strides[0]} frames, got '
                f'videos of {x.shape[2]}. Sample clips of {times * strides[0]} frames, '
                f'or build it with num_frames={x.shape[2]}.'
            )
        if not all(size):
            raise ValueError(
                f'{name} cuts frames into patches of {strides[1]}x{strides[2]} pixels, '
                f'got frames of {x.shape[3]}x{x.shape[4]}. Resize them to at least one '
                'patch.'
            )
        return size

    def _embed(self, x: Tensor, size: GridSize) -> Tensor:
        """Embed tubelets, [B, N, C]; recomputed in a reversible backward pass."""
        if self.recomputes:
            return cp.checkpoint(self._embed_tubelets, x, size, use_reentrant=False)
        return self._embed_tubelets(x, size)

    def _embed_tubelets(self, x: Tensor, size: GridSize) -> Tensor:
        return self.pos_drop(self.patch_embed(x)[0] + self._position_embedding(size))

    def _position_embedding(self, size: GridSize) -> Tensor:
        """Resize the position embeddings [1, N, C] to another height and width."""
        if size[1:] == self.grid_size:
            return self.pos_embed
        maps = self.pos_embed.view(size[0], *self.grid_size, -1).permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size[1:], mode='bicubic', align_corners=False)
        return maps.permute(0, 2, 3, 1).reshape(1, -1, self.embed_dims)

    def _branches(self, size: GridSize) -> List[Branch]:
        chunk = self.dual_residual_options.chunk
        tokens = size[0] * size[1] * size[2]
        branches: List[Branch] = []
        for block in self.blocks:
            branches += [
                AttentionBranch(
                    block.norm1,
                    block.attn,
                    block.drop_path,
                    tokens,
                    chunk,
                    getattr(block, 'gamma_1', None),
                ),
                FeedForwardBranch(
                    block.norm2,
                    (block.mlp,),
                    block.mlp.feedforward_channels,
                    block.drop_path,
                    chunk,
                    getattr(block, 'gamma_2', None),
                ),
            ]
        return branches

    def _finish(self, x: Tensor, size: GridSize) -> Tensor:
        """Return what mmaction makes of the last block's tokens [B, N, C]."""
        if self.return_feat_map:
            return self.norm(x).view(-1, *size, self.embed_dims).movedim(4, 1)
        if self.fc_norm is not None:
            return self.fc_norm(self.norm(x).mean(1))
        # The norm sees each token by itself.
        return self.norm(x[:, 0])

    def _finishing_modules(self) -> List[nn.Module]:
        if self.return_feat_map or self.fc_norm is None:
            return [self.norm]
        return [self.norm, self.fc_norm]

    def _plan(
        self, x: Tensor, branches: List[Branch], size: GridSize
    ) -> Optional[Plan]:
        """Return the plan of the branches to store, see ``memory_budget``."""
        if self.dual_residual_options.memory_budget is None:
            return None
        branch_bytes = 2 if AutocastState(x.device).enabled() else 4
        frozen = self._frozen_branches(branches)
        plan = self._storage_plan(
            (x.shape[0], *size, branch_bytes, frozen),
            lambda: self.stage_costs(x.shape[0], size, branch_bytes),
        )
        return None if plan is None else [[False] * frozen + plan[0]]

    def _frozen_branches(self, branches: List[Branch]) -> int:
        """Count the first branches that no gradient has to pass."""
        embedding = [self.pos_embed, *self.patch_embed.parameters()]
        if any(parameter.requires_grad for parameter in embedding):
            return 0
        for i, branch in enumerate(branches):
            if any(parameter.requires_grad for parameter in branch.parameters()):
                return i
        return len(branches)

    def stage_costs(
        self, batch: int, size: GridSize, branch_bytes: int = 4
    ) -> List[StageCost]:
        """Compute memory and work of the stage's branches that gradients pass.

        Args:
            batch: Number of videos.
            size: Tubelets along time, height and width.
            branch_bytes: Bytes of a number within a branch, 2 under autocast.
        """
        tokens, channels = batch * size[0] * size[1] * size[2], self.embed_dims
        branches = self._branches(size)
        trained = branches[self._frozen_branches(branches) :]
        steps = self._step_costs(trained, tokens, channels, branch_bytes)
        stream = 4 * tokens * channels
        mapped, normed = self.return_feat_map, self.fc_norm is None
        return [
            StageCost(
                stream,
                outputs=stream if mapped else 4 * batch * channels,
                steps=steps,
                # The tokens and their gradient; what the norm makes of them.
                finish=stream * (2 + (mapped and normed)),
                # mmaction's norm sees all tokens, of which one may be taken.
                between=stream * normed * (1 + (not mapped)),
            )
        ]
