"""Swin Transformer as a dual-residual backbone."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from mmdet.models.backbones import SwinTransformer
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.fit import weights_of
from dr2net_mm.backbones.base.pretrained import (
    BARE_SCHEME,
    pretrained_source,
    read_source,
)
from dr2net_mm.backbones.base.refusal import is_bare
from dr2net_mm.backbones.branches import FeedForwardBranch, WindowAttentionBranch
from dr2net_mm.reversible import Branch

from .token_grid import GridSize, TokenGridBackbone


@MODELS.register_module(force=True)
class Dr2SwinTransformer(TokenGridBackbone, SwinTransformer):
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
        inflate_input: Whether weights of a file for another number of input channels
            are adapted to ``in_channels``, see
            :func:`dr2net_mm.backbones.base.pretrained.inflated`.
        **kwargs: Arguments of mmdet's ``SwinTransformer``.

    Raises:
        ValueError: If an option is unknown or out of range, or ``with_cp`` is asked for
            together with the reversible backward pass.

    Source: Dr2Net (CVPR 2024), Eq. 1; Swin Transformer (ICCV 2021).
    """

    plain_class = 'mmdet.SwinTransformer'

    def __init__(
        self,
        *args,
        dual_residual: Optional[dict] = None,
        inflate_input: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.inflate_input = inflate_input
        self._init_token_grid(dual_residual)

    def forward(self, x: Tensor) -> List[Tensor]:
        """Compute the feature maps of the stages of ``out_indices``.

        Args:
            x: Images [B, in_channels, H, W].

        Returns:
            Tensors [B, C_i, H_i, W_i].
        """
        return self._feature_maps(x)

    def init_weights(self) -> None:
        """Set the weights: random ones, or those of a file, all of them.

        mmdet looks for names that begin with ``backbone.``; a file of a bare backbone
        is taken too.

        Raises:
            UserError: If the file does not give the backbone its weights.
        """
        given, source = self.init_cfg, pretrained_source(self)
        if source is not None:
            self.init_cfg = ConfigDict(given)
            if '://' not in source and is_bare(self, weights_of(read_source(source))):
                self.init_cfg.checkpoint = BARE_SCHEME + source
        try:
            super().init_weights()
        finally:
            self.init_cfg = given

    def train(self, mode: bool = True) -> 'Dr2SwinTransformer':
        """Set the mode and return the backbone, which mmdet's own ``train`` forgets."""
        super().train(mode)
        return self

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks of each stage, by default those of Swin-T."""
        return list(config.get('depths', (2, 2, 6, 2)))

    @classmethod
    def with_depths(
        cls, config: Mapping[str, Any], depths: Sequence[int]
    ) -> Dict[str, Any]:
        """Return the arguments for other numbers of blocks."""
        return dict(config, depths=tuple(depths))

    def example_size(self) -> Tuple[int, ...]:
        """Return the shape of a small input that needs padding."""
        # Not a multiple of the windows, so that there is padding.
        return (self.patch_embed.projection.in_channels, 64, 96)

    def _patch_strides(self) -> Tuple[int, ...]:
        return self.patch_embed.projection.stride

    def _grid_stages(self) -> nn.ModuleList:
        return self.stages

    def _stage_channels(self, i: int) -> int:
        return self.num_features[i]

    def _embed_patches(self, x: Tensor) -> Tuple[Tensor, GridSize]:
        x, size = self.patch_embed(x)
        if self.use_abs_pos_embed:
            x = x + self.absolute_pos_embed
        return self.drop_after_pos(x), size

    def _block_branches(self, block: nn.Module, size: GridSize) -> List[Branch]:
        chunk = self.dual_residual_options.chunk
        attn, ffn = block.attn, block.ffn
        window, shift = (attn.window_size,) * 2, (attn.shift_size,) * 2
        return [
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

    def _downsample(self, layer: nn.Module, x: Tensor, size: GridSize) -> Tensor:
        return layer(x, size)[0]

    def _downsampled_size(self, layer: nn.Module, size: GridSize) -> GridSize:
        """Return the size after mmdet's ``PatchMerging``, which pads the corner."""
        strides = layer.sampler.stride
        return tuple(-(-length // stride) for length, stride in zip(size, strides))
