"""Video Swin Transformer as a dual-residual backbone."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mmaction.models.backbones.swin import SwinTransformer3D, get_window_size
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.pretrained import guarded_loading
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.backbones.branches import FeedForwardBranch, WindowAttentionBranch
from dr2net_mm.reversible import Branch

from .output_norm import remove_output_norms
from .token_grid import GridSize, TokenGridBackbone


@MODELS.register_module(force=True)
class Dr2SwinTransformer3D(TokenGridBackbone, SwinTransformer3D):
    """mmaction's ``SwinTransformer3D`` with two residual streams in every stage.

    Each block is two residual branches, attention in (shifted) windows of the video and
    feed-forward; for the equations see
    :class:`dr2net_mm.backbones.swin.swin.Dr2SwinTransformer`. Patch embedding, patch
    merging and norms are mmaction's and are recomputed in the backward pass. Parameters
    have mmaction's names, so that Video Swin checkpoints load, and 2-D Swin
    checkpoints are inflated, as they are in mmaction.

    Args:
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions`, e.g.
            ``dict(alpha=1.0, beta=0.1, arithmetic='exact')``.
        output_norm: Whether each feature map passes a LayerNorm, as in mmaction. Some
            dense predictors, such as MTTR, take the maps without.
        inflate_input: Whether weights of a file for another number of input channels
            are adapted to ``in_channels``, see
            :func:`dr2net_mm.backbones.base.pretrained.inflated`.
        **kwargs: Arguments of mmaction's ``SwinTransformer3D``. Where ``pretrained`` is
            None the weights are random, whatever ``pretrained2d`` is; mmaction tries
            to load a file of that name.

    Raises:
        ValueError: If an option is unknown or out of range, or ``with_cp`` is asked
            for.

    Source: Dr2Net (CVPR 2024), Eq. 1; Video Swin Transformer (CVPR 2022).
    """

    plain_class = 'mmaction.SwinTransformer3D'
    usual_frames = 32

    def __init__(
        self,
        *args,
        dual_residual: Optional[dict] = None,
        output_norm: bool = True,
        inflate_input: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not output_norm:
            remove_output_norms(self)
        self.inflate_input = inflate_input
        self._init_token_grid(dual_residual)

    def init_weights(self) -> None:
        """Load, or inflate, the pretrained weights; random ones if there are none."""
        if self.pretrained:
            super().init_weights()
        else:
            with guarded_loading(self, self.inflate_input):
                BaseModule.init_weights(self)

    def forward(
        self, x: Tensor, frames: Optional[Sequence[int]] = None
    ) -> Union[Tensor, Tuple[Tensor, ...]]:
        """Compute the feature maps of the stages of ``out_indices``.

        Args:
            x: Videos [B, in_channels, T, H, W].
            frames: Numbers of the tubelets along time whose maps are returned, by
                default all. Maps of the others are never stored.

        Returns:
            Tensors [B, C_i, T_i, H_i, W_i]; a single one is not in a tuple.

        Raises:
            ValueError: If the input has another number of axes or channels.
        """
        refuse_symbols(self, x)
        channels = self.patch_embed.in_channels
        if x.dim() != 5 or x.shape[1] != channels:
            raise ValueError(
                f'{type(self).__name__} takes videos [B, {channels}, T, H, W], got '
                f'shape {tuple(x.shape)}; clips of a video [B, clips, {channels}, T, '
                "H, W] are flattened by mmaction's Recognizer3D or our "
                'EndToEndLocalizer.'
            )
        outs = self._feature_maps(x, frames)
        return outs[0] if len(outs) == 1 else tuple(outs)

    def train(self, mode: bool = True) -> 'Dr2SwinTransformer3D':
        """Set the mode and return the backbone, which mmaction's ``train`` forgets."""
        super().train(mode)
        return self

    @classmethod
    def plain_config(cls, config: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the config of the conventional twin."""
        plain = super().plain_config(config)
        if 'output_norm' in plain:
            # mmaction has no such option.
            plain['type'] = 'ConventionalSwinTransformer3D'
        if not plain.get('pretrained'):
            # Else mmaction wants to inflate a checkpoint that has no name.
            plain['pretrained2d'] = False
        return plain

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks of each stage, by default those of Swin-T."""
        return list(cls._arch(config).get('depths', (2, 2, 6, 2)))

    @classmethod
    def with_depths(
        cls, config: Mapping[str, Any], depths: Sequence[int]
    ) -> Dict[str, Any]:
        """Return the arguments for other numbers of blocks."""
        return dict(config, arch=dict(cls._arch(config), depths=list(depths)))

    @classmethod
    def _arch(cls, config: Mapping[str, Any]) -> Dict[str, Any]:
        arch = config.get('arch', 'tiny')
        return cls.arch_zoo[arch.lower()] if isinstance(arch, str) else arch

    def example_size(self) -> Tuple[int, ...]:
        """Return the shape of a small input that needs padding."""
        # Not a multiple of the windows, so that there is padding.
        return (self.patch_embed.in_channels, 8, 64, 96)

    def _patch_strides(self) -> Tuple[int, ...]:
        return self.patch_embed.patch_size

    def _grid_stages(self) -> nn.ModuleList:
        return self.layers

    def _stage_channels(self, i: int) -> int:
        return self.layers[i].embed_dims

    def _embed_patches(self, x: Tensor) -> Tuple[Tensor, GridSize]:
        x = self.pos_drop(self.patch_embed(x))
        return x.flatten(2).transpose(1, 2).contiguous(), tuple(x.shape[2:])

    def _block_branches(self, block: nn.Module, size: GridSize) -> List[Branch]:
        chunk = self.dual_residual_options.chunk
        # A window is no longer than the grid, and then it is not shifted.
        window, shift = get_window_size(size, block.window_size, block.shift_size)
        return [
            WindowAttentionBranch(
                block.norm1, block.attn, block.drop_path, size, window, shift, chunk
            ),
            FeedForwardBranch(
                block.norm2,
                (block.mlp,),
                block.mlp.fc1.out_features,
                block.drop_path,
                chunk,
            ),
        ]

    def _downsample(self, layer: nn.Module, x: Tensor, size: GridSize) -> Tensor:
        return layer(x.view(x.shape[0], *size, -1)).flatten(1, 3)

    def _downsampled_size(self, layer: nn.Module, size: GridSize) -> GridSize:
        """Return the size after mmaction's ``PatchMerging``, which keeps the frames."""
        frames, height, width = size
        return frames, -(-height // 2), -(-width // 2)
