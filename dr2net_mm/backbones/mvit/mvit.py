"""mmaction's MViTv2 as a dual-residual backbone."""

from functools import partial
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmaction.models.backbones.mvit import MViT, resize_pos_embed
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.multiscale import (
    MultiscaleBackbone,
    checked_scales,
    runs_of,
)
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.backbones.branches import FeedForwardBranch, PoolingAttentionBranch
from dr2net_mm.backbones.branches.pooling_attention import pooled_size
from dr2net_mm.reversible import Branch

from .parts import attend, changed

Size = Tuple[int, ...]


@MODELS.register_module(force=True)
class Dr2MViT(MultiscaleBackbone, MViT):
    """mmaction's ``MViT`` (MViTv2) with two residual streams.

    Blocks that keep the shape of the stream are two residual branches, attention and
    feed-forward. With the input x_0 of a run of them and its branches F_1 … F_N,

        y_0 = β·x_0,  x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    the next block sees x_N. Blocks that change the shape (those at
    ``downscale_indices``, and with ``dim_mul_in_attention=False`` also the ones before
    them) are mmaction's, and are recomputed in the backward pass, as are embedding and
    norms. Parameters have mmaction's names.

    Args:
        out_scales: Scales whose outputs are returned; negative numbers count from the
            end.
        inflate_input: Whether weights of a file for another number of input channels
            are adapted to ``in_channels``.
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions`, e.g.
            ``dict(alpha=1.0, beta=0.1, arithmetic='exact')``.
        **kwargs: Other arguments of mmaction's ``MViT``.

    Raises:
        ValueError: If an option is unknown or out of range, or there is no such
            architecture or scale.

    Source: Dr2Net (CVPR 2024), Eq. 1; MViTv2 (CVPR 2022).
    """

    plain_class = 'mmaction.MViT'
    usual_frames = 16
    checkpointed_lists = ('blocks',)
    has_own_size = True

    def __init__(
        self,
        arch: Union[str, dict] = 'base',
        *args: Any,
        out_scales: Union[int, Sequence[int]] = -1,
        dual_residual: Optional[dict] = None,
        inflate_input: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(arch, str) and arch.lower() not in self.arch_zoo:
            raise ValueError(
                f'arch must be one of {tuple(self.arch_zoo)} or a dictionary, got '
                f'{arch!r}.'
            )
        known = self.arch_zoo[arch.lower()] if isinstance(arch, str) else arch
        scales = len(known.get('downscale_indices', ())) + 1
        wanted = [out_scales] if isinstance(out_scales, int) else out_scales
        wanted = checked_scales(wanted, scales, type(self).__name__)
        super().__init__(arch, *args, out_scales=wanted, **kwargs)
        self.inflate_input = inflate_input
        ends = sorted(self.stage_indices, key=self.stage_indices.get)
        changes = [
            block.proj is not None or block.pool_skip is not None
            for block in self.blocks
        ]
        self._init_multiscale(
            dual_residual, runs_of(changes, ends, wanted), ('last', 'mean')
        )

    def forward(self, x: Tensor) -> Tuple[Union[Tensor, List[Tensor]], ...]:
        """Features of videos [B, in_channels, T, H, W].

        Returns:
            For each scale of ``out_scales`` a feature map [B, C_i, T_i, H_i, W_i], or
            with ``output_cls_token`` a list of it and the class token [B, C_i].

        Raises:
            ValueError: If the input has another number of axes or channels.
        """
        refuse_symbols(self, x)
        channels = self.patch_embed.projection.in_channels
        if x.dim() != 5 or x.shape[1] != channels:
            raise ValueError(
                f'{type(self).__name__} takes videos [B, {channels}, T, H, W], got '
                f'shape {tuple(x.shape)}.'
            )
        # A size is no tensor, which a recomputation could hand on.
        size = tuple(pooled_size(self.patch_embed.projection, x.shape[2:]))
        outputs = self._run_scales(x, self._recomputed(self._embed, x), size)
        if not self.output_cls_token:
            return tuple(outputs)
        return tuple(map(list, zip(outputs[::2], outputs[1::2])))

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks, as one stage."""
        arch = config.get('arch', 'base')
        arch = cls.arch_zoo[arch] if isinstance(arch, str) else arch
        return [arch['num_layers']]

    def example_size(self) -> Tuple[int, ...]:
        """Shape [C, T, H, W] of a video that the network is built for."""
        layer = self.patch_embed.projection
        lengths = zip(self.patch_resolution, layer.stride)
        return (layer.in_channels, *(count * step for count, step in lengths))

    def _embed(self, x: Tensor) -> Tensor:
        """Embedded tokens [B, N, C] as mmaction makes them."""
        x, size = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        if self.use_abs_pos_embed:
            x = x + resize_pos_embed(
                self.pos_embed,
                self.patch_resolution,
                size,
                mode=self.interpolate_mode,
                num_extra_tokens=self.num_extra_tokens,
            )
        return x if self.with_cls_token else x[:, 1:]

    def _block_branches(self, block: nn.Module, x: Tensor, size: Size) -> List[Branch]:
        chunk = self._chunk
        # mmaction keeps the softmax, and with relative positions their sum.
        matrices = 1 + 2 * block.attn.rel_pos_embed
        return [
            PoolingAttentionBranch(
                block.norm1,
                block.attn,
                partial(attend, block.attn),
                block.drop_path,
                size,
                x.shape[1],
                chunk,
                matrices,
            ),
            FeedForwardBranch(
                block.norm2,
                (block.mlp,),
                block.mlp.fc1.out_features,
                block.drop_path,
                chunk,
            ),
        ]

    def _transition(self, block: nn.Module, x: Tensor, size: Size) -> Tensor:
        return changed(block, x, size, self._chunk, self.recomputes)

    def _size_behind(self, block: nn.Module, size: Size) -> Size:
        return tuple(pooled_size(block.attn.pool_q, size))

    def _finish_scale(
        self, scale: int, x: Tensor, size: Size
    ) -> Tuple[Tensor, List[Tensor]]:
        # mmaction's next block sees the normed tokens too.
        x = getattr(self, f'norm{scale}')(x)
        first = int(self.with_cls_token)
        maps = x[:, first:].transpose(1, 2).unflatten(2, size).contiguous()
        tokens = [x[:, 0].contiguous()] if self.output_cls_token else []
        return x, [maps, *tokens]

    def _scale_modules(self, scale: int) -> List[nn.Module]:
        return [getattr(self, f'norm{scale}')]
