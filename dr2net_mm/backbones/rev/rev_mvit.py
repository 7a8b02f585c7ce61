"""Reversible Multiscale Vision Transformer."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.multiscale import (
    MultiscaleBackbone,
    checked_scales,
    runs_of,
)
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.reversible import Branch

from .layers import (
    PUBLISHED_INIT,
    LayerNorm,
    PatchEmbed,
    drop_path_rates,
    published_member,
    resized_positions,
)
from .mvit_blocks import STREAM_FUSIONS, make_blocks

Size = Tuple[int, ...]

_BASE = dict(embed_dims=96, num_layers=16, num_heads=1, downscale_indices=(1, 3, 14))

REV_MVIT_ARCHS: Dict[str, Dict[str, Any]] = {
    'image-base': dict(
        _BASE,
        patch_kernel=(7, 7),
        patch_stride=(4, 4),
        patch_padding=(3, 3),
        pool_kernel=(1, 3, 3),
        kv_stride=(1, 4, 4),
        fuse='concat_mlp',
        qkv_bias=True,
    ),
    'video-base': dict(
        _BASE,
        patch_kernel=(3, 7, 7),
        patch_stride=(2, 4, 4),
        patch_padding=(1, 3, 3),
        pool_kernel=(3, 3, 3),
        kv_stride=(1, 8, 8),
        fuse='mean',
        qkv_bias=False,
    ),
}
"""The published architectures: ImageNet's B-16 and Kinetics' B-16x4."""

OUT_TYPES = ('featmap', 'avg_featmap')


@MODELS.register_module(force=True)
class RevMViT(MultiscaleBackbone, BaseModule):
    """Rev-MViT, the member (α, β) = (0, 1) of the dual-residual family.

    Shape-preserving blocks are those of :class:`.rev_vit.RevVisionTransformer` with
    pooling attention. At a transition both streams become one, its grid shrinks and its
    channels double; behind it both streams start with its result. The output of a scale
    is LN([Y1, Y2]), twice as wide as a stream. Transitions are recomputed in the
    backward pass.

    Differences from the published code: attention and MLP of a block have drop-path
    masks of their own, also in transitions, where upstream drops the whole output.

    Args:
        arch: One of :data:`REV_MVIT_ARCHS`, or a dictionary with the same keys.
            ``patch_kernel`` of two numbers makes a network for images, of three one
            for videos.
        img_size: Height and width that the position embeddings are for, in pixels;
            they are interpolated for others.
        num_frames: Frames of a video; images have none.
        in_channels: Channels of the input.
        drop_path_rate: Probability to drop a branch in the last block, in [0, 1).
        out_scales: Scales whose outputs are returned: a number for one tensor, a
            sequence for a tuple. Negative numbers count from the end.
        out_type: ``'featmap'`` [B, 2C_i, (T,) H_i, W_i], or ``'avg_featmap'``
            [B, 2C_i].
        inflate_input: Whether weights of a file for another number of input channels
            are adapted to ``in_channels``.
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions` other than those of the
            published network.
        init_cfg: MMEngine's initialization; by default the published one.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Source: Reversible Vision Transformers (CVPR 2022); SlowFast,
    ``models/reversible_mvit.py``.
    """

    plain_class = 'ConventionalMViT'
    checkpointed_lists = ('blocks',)
    has_own_size = True

    def __init__(
        self,
        arch: Union[str, dict] = 'image-base',
        img_size: int = 224,
        num_frames: int = 16,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_scales: Union[int, Sequence[int]] = -1,
        out_type: str = 'featmap',
        dual_residual: Optional[dict] = None,
        inflate_input: bool = False,
        init_cfg: Union[None, dict, List[dict]] = None,
    ) -> None:
        super().__init__(PUBLISHED_INIT if init_cfg is None else init_cfg)
        self.inflate_input = inflate_input
        self.arch_settings = settings = _settings(arch)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type must be one of {OUT_TYPES}, got {out_type!r}.')
        self.out_type = out_type
        self.single_output = isinstance(out_scales, int)
        downscale = list(settings['downscale_indices'])
        depth = settings['num_layers']
        self.out_scales = checked_scales(
            [out_scales] if isinstance(out_scales, int) else out_scales,
            len(downscale) + 1,
            type(self).__name__,
        )
        self.videos = len(settings['patch_kernel']) == 3
        width = settings['embed_dims']
        self.patch_embed = PatchEmbed(
            in_channels,
            width,
            settings['patch_kernel'],
            settings['patch_stride'],
            settings['patch_padding'],
        )
        self._make_positions(img_size, num_frames, width)
        self.blocks, self.widths = make_blocks(
            settings, drop_path_rates(drop_path_rate, depth)
        )
        for scale in self.out_scales:
            self.add_module(f'norm{scale}', LayerNorm(2 * self.widths[scale]))
        ends = [*(i - 1 for i in downscale), depth - 1]
        self._init_multiscale(
            published_member(dual_residual),
            runs_of([i in downscale for i in range(depth)], ends, self.out_scales),
            ('concat_yx',),
        )

    def _make_positions(self, img_size: int, num_frames: int, width: int) -> None:
        lengths = (num_frames, img_size, img_size) if self.videos else (img_size,) * 2
        grid = self.patch_embed.grid(lengths)
        if not all(grid):
            raise ValueError(
                f'img_size={img_size} and num_frames={num_frames} hold no patch of '
                f'{self.patch_embed.projection.kernel_size}; make them larger.'
            )
        self.grid_size = tuple(grid[-2:])
        spatial = nn.Parameter(torch.zeros(1, grid[-1] * grid[-2], width))
        if self.videos:
            self.pos_embed_spatial = spatial
            self.pos_embed_temporal = nn.Parameter(torch.zeros(1, grid[0], width))
        else:
            self.pos_embed = spatial

    def init_weights(self) -> None:
        """Initialize the weights as ``init_cfg`` says, and position embeddings."""
        super().init_weights()
        if isinstance(self.init_cfg, dict) and (
            self.init_cfg.get('type') == 'Pretrained'
        ):
            return
        for name, parameter in self.named_parameters(recurse=False):
            if name.startswith('pos_embed'):
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Union[Tensor, Tuple[Tensor, ...]]:
        """Features of images [B, C, H, W] or videos [B, C, T, H, W].

        Returns:
            A tensor of the only scale, or a tuple, see ``out_scales`` and ``out_type``.

        Raises:
            ValueError: If the input has another number of axes, channels or frames, or
                is too small for a patch.
        """
        refuse_symbols(self, x)
        size = self._grid(x)
        tokens = self._recomputed(self._embed, x, size)
        outputs = self._run_scales(x, tokens, size)
        return outputs[0] if self.single_output else tuple(outputs)

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks, as one stage."""
        arch = config.get('arch', 'image-base')
        arch = REV_MVIT_ARCHS[arch] if isinstance(arch, str) else arch
        return [arch['num_layers']]

    def example_size(self) -> Tuple[int, ...]:
        """Shape [C, (T,) H, W] of an input that the position embeddings are for."""
        layer = self.patch_embed.projection
        times = (self.pos_embed_temporal.shape[1],) if self.videos else ()
        lengths = zip((*times, *self.grid_size), layer.stride)
        return (layer.in_channels, *(count * step for count, step in lengths))

    def _grid(self, x: Tensor) -> Size:
        """Tokens along time (1 for images), height and width."""
        name, layer = type(self).__name__, self.patch_embed.projection
        axes = '[B, {}, T, H, W]' if self.videos else '[B, {}, H, W]'
        if x.dim() != len(layer.kernel_size) + 2 or x.shape[1] != layer.in_channels:
            raise ValueError(
                f'this {name} takes inputs {axes.format(layer.in_channels)}, got shape '
                f"{tuple(x.shape)}; arch 'image-base' is for images, 'video-base' for "
                'videos.'
            )
        grid = self.patch_embed.grid(x.shape[2:])
        if not all(grid):
            raise ValueError(
                f'{name} found no patch in an input of {tuple(x.shape[2:])}; make it '
                f'at least {layer.kernel_size}.'
            )
        if not self.videos:
            return (1, *grid)
        times = self.pos_embed_temporal.shape[1]
        if grid[0] != times:
            raise ValueError(
                f'{name} has position embeddings for {times * layer.stride[0]} frames, '
                f'got {x.shape[2]}; build it with num_frames={x.shape[2]}.'
            )
        return tuple(grid)

    def _embed(self, x: Tensor, size: Size) -> Tensor:
        learned = self.pos_embed_spatial if self.videos else self.pos_embed
        positions = resized_positions(learned, self.grid_size, size[1:])
        if self.videos:
            places = positions.shape[1]
            positions = positions.repeat(1, size[0], 1)
            positions = positions + self.pos_embed_temporal.repeat_interleave(places, 1)
        return self.patch_embed(x) + positions

    def _block_branches(self, block: nn.Module, x: Tensor, size: Size) -> List[Branch]:
        return block.branches(size, self._chunk)

    def _transition(self, block: nn.Module, x: Tensor, size: Size) -> Tensor:
        return block(x, size, self._chunk, self.recomputes)

    def _size_behind(self, block: nn.Module, size: Size) -> Size:
        return block.attn.size_behind(size)

    def _finish_scale(
        self, scale: int, x: Tensor, size: Size
    ) -> Tuple[Tensor, List[Tensor]]:
        normed = getattr(self, f'norm{scale}')(x)
        if self.out_type == 'avg_featmap':
            return x, [normed.mean(1)]
        shape = size if self.videos else size[1:]
        return x, [normed.transpose(1, 2).unflatten(2, shape).contiguous()]

    def _scale_modules(self, scale: int) -> List[nn.Module]:
        return [getattr(self, f'norm{scale}')]


def _settings(arch: Union[str, dict]) -> Dict[str, Any]:
    """Sizes of an architecture.

    Raises:
        ValueError: If it is unknown, incomplete, or has a scale without a
            shape-preserving block.
    """
    if isinstance(arch, str):
        if arch not in REV_MVIT_ARCHS:
            raise ValueError(
                f'arch must be one of {tuple(REV_MVIT_ARCHS)} or a dictionary, got '
                f'{arch!r}.'
            )
        return REV_MVIT_ARCHS[arch]
    needed = sorted(REV_MVIT_ARCHS['image-base'])
    if sorted(arch) != needed:
        raise ValueError(f'an arch dictionary needs {needed}, got {sorted(arch)}.')
    if arch['fuse'] not in STREAM_FUSIONS:
        raise ValueError(f'fuse must be one of {STREAM_FUSIONS}, got {arch["fuse"]!r}.')
    edges = [-1, *arch['downscale_indices'], arch['num_layers']]
    if any(after - before < 2 for before, after in zip(edges, edges[1:])):
        raise ValueError(
            f'downscale_indices={tuple(arch["downscale_indices"])} of '
            f'{arch["num_layers"]} layers leave a scale without a reversible block; '
            'every scale needs one besides its transition.'
        )
    return dict(arch)
