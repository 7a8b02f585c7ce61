"""Swin Transformer as a dual-residual backbone."""

from typing import List, Optional, Tuple

import torch
import torch.utils.checkpoint as cp
from mmdet.models.backbones import SwinTransformer
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.models.branches import FeedForwardBranch, WindowAttentionBranch
from dr2net_mm.reversible import Branch
from dr2net_mm.reversible.plan import StageCost, step_cost
from dr2net_mm.reversible.replay import AutocastState

from .dual_residual import DualResidualBackbone

GridSize = Tuple[int, int]


@MODELS.register_module()
class Dr2SwinTransformer(DualResidualBackbone, SwinTransformer):
    """mmdet's ``SwinTransformer`` with two residual streams in every stage.

    Each Swin block is two residual branches, attention and feed-forward. With the
    input x_0 of a stage and its branches F_1 … F_N,

        y_0 = β·x_0,  x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    the stage returns x_N. Patch embedding, patch merging and norms are mmdet's and are
    recomputed in the backward pass. Parameters have mmdet's names.

    Args:
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions`, e.g.
            ``dict(alpha=1.0, beta=0.1, arithmetic='exact')``.
        **kwargs: Arguments of mmdet's ``SwinTransformer``.

    Raises:
        ValueError: If an option is unknown or out of range, or ``with_cp`` is asked for
            together with the reversible backward pass.

    Source: Dr2Net (CVPR 2024), Eq. 1; Swin Transformer (ICCV 2021).
    """

    def __init__(self, *args, dual_residual: Optional[dict] = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._init_dual_residual(dual_residual, len(self.stages), ('last', 'mean'))
        if any(block.with_cp for stage in self.stages for block in stage.blocks):
            raise ValueError(
                'with_cp=True has no use in Dr2SwinTransformer: its activations are '
                'reconstructed, not checkpointed. Set with_cp=False in the backbone '
                "(and dual_residual=dict(backprop='stored') to store activations)."
            )

    def forward(self, x: Tensor) -> List[Tensor]:
        """Feature maps of the stages of ``out_indices``.

        Args:
            x: Images [B, in_channels, H, W].

        Returns:
            Tensors [B, C_i, H_i, W_i].
        """
        x, size = self._embed(x)
        branch_bytes = 2 if AutocastState(x.device).enabled() else 4
        plan = self._storage_plan(
            (x.shape[0], *size, branch_bytes),
            lambda: self.stage_costs(x.shape[0], size, branch_bytes),
        )
        outs = []
        for i, stage in enumerate(self.stages):
            outputs = self._run_stage(
                i,
                x,
                self._branches(stage, size),
                lambda fused, i=i, size=size: self._finish_stage(i, fused, size),
                self._finishing_modules(i),
                plan,
            )
            if i in self.out_indices:
                outs.append(outputs[0])
            if stage.downsample is not None:
                x, size = outputs[-1], merged_size(stage.downsample, size)
        return outs

    def train(self, mode: bool = True) -> 'Dr2SwinTransformer':
        """Set the mode and return the backbone, which mmdet's own ``train`` forgets."""
        super().train(mode)
        return self

    def _embed(self, x: Tensor) -> Tuple[Tensor, GridSize]:
        """Patch embedding [B, H·W, C], recomputed in a reversible backward pass."""
        reversible = self.dual_residual_options.backprop == 'reversible'
        trained = self.frozen_stages < 0
        if reversible and trained and torch.is_grad_enabled():
            return cp.checkpoint(self._embed_patches, x, use_reentrant=False)
        return self._embed_patches(x)

    def _embed_patches(self, x: Tensor) -> Tuple[Tensor, GridSize]:
        x, size = self.patch_embed(x)
        if self.use_abs_pos_embed:
            x = x + self.absolute_pos_embed
        return self.drop_after_pos(x), size

    def _branches(self, stage: nn.Module, size: GridSize) -> List[Branch]:
        chunk = self.dual_residual_options.chunk
        branches: List[Branch] = []
        for block in stage.blocks:
            attn, ffn = block.attn, block.ffn
            window, shift = (attn.window_size,) * 2, (attn.shift_size,) * 2
            branches += [
                WindowAttentionBranch(
                    block.norm1, attn.w_msa, attn.drop, size, window, shift, chunk
                ),
                FeedForwardBranch(
                    block.norm2,
                    (ffn.layers, ffn.gamma2),
                    ffn.feedforward_channels,
                    ffn.dropout_layer,
                    chunk,
                ),
            ]
        return branches

    def stage_costs(
        self, batch: int, size: GridSize, branch_bytes: int = 4
    ) -> List[StageCost]:
        """Memory and work of each stage.

        Args:
            batch: Number of images.
            size: Height and width of the token grid of the first stage.
            branch_bytes: Bytes of a number within a branch, 2 under autocast.
        """
        costs = []
        for i, stage in enumerate(self.stages):
            tokens, channels = batch * size[0] * size[1], self.num_features[i]
            steps = []
            # mmdet counts the patch embedding as the first frozen stage.
            branches = self._branches(stage, size) if i >= self.frozen_stages else ()
            for branch in branches:
                steps.append(
                    step_cost(
                        tokens,
                        channels,
                        branch.cost(channels),
                        self.remainder_bits(),
                        branch.piece_tokens(tokens, channels),
                        branch_bytes,
                        sum(parameter.numel() for parameter in branch.parameters()),
                    )
                )
            stream = 4 * tokens * channels
            wanted, merged = i in self.out_indices, stage.downsample is not None
            costs.append(
                StageCost(
                    stream,
                    outputs=stream * wanted,
                    steps=steps,
                    # Norm and the feature map made of it; the neighbourhoods that are
                    # merged, their norm, the input of the next stage.
                    finish=int(stream * (1 + 2 * wanted + 2.5 * merged)),
                    # What the first norm sees, and the neighbourhoods and their norm.
                    between=stream * (1 + 2 * merged),
                )
            )
            if merged:
                size = merged_size(stage.downsample, size)
        return costs

    def _finish_stage(self, i: int, x: Tensor, size: GridSize) -> Tuple[Tensor, ...]:
        """Feature map of a stage, if it is wanted, and the input of the next one."""
        outputs = []
        if i in self.out_indices:
            out = getattr(self, f'norm{i}')(x)
            out = out.view(-1, *size, self.num_features[i])
            outputs.append(out.permute(0, 3, 1, 2).contiguous())
        downsample = self.stages[i].downsample
        if downsample is not None:
            outputs.append(downsample(x, size)[0])
        return tuple(outputs) or (x,)

    def _finishing_modules(self, i: int) -> List[nn.Module]:
        modules = [getattr(self, f'norm{i}')] if i in self.out_indices else []
        downsample = self.stages[i].downsample
        return modules if downsample is None else [*modules, downsample]


def merged_size(downsample: nn.Module, size: GridSize) -> GridSize:
    """Size of a token grid after mmdet's ``PatchMerging``, which pads the corner."""
    strides = downsample.sampler.stride
    return tuple(-(-length // stride) for length, stride in zip(size, strides))
