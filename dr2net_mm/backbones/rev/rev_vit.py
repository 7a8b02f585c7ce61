"""Reversible Vision Transformer."""

from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.counted_costs import CountedCosts, padded_plan
from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.backbones.branches import AttentionBranch, FeedForwardBranch
from dr2net_mm.reversible import Branch

from .layers import (
    PUBLISHED_INIT,
    LayerNorm,
    PatchEmbed,
    check_heads,
    drop_path_layer,
    drop_path_rates,
    published_member,
    resized_positions,
)

GridSize = Tuple[int, int]

REV_VIT_ARCHS: Dict[str, Dict[str, int]] = {
    'deit-small': dict(embed_dims=384, num_layers=12, num_heads=6),
    'deit-base': dict(embed_dims=768, num_layers=12, num_heads=12),
    'large': dict(embed_dims=1024, num_layers=24, num_heads=16),
}
"""Architectures by mmpretrain's names; the first two have published weights."""

OUT_TYPES = ('avg_featmap', 'featmap', 'raw')


class RevAttention(nn.Module):
    """Weights of multi-head self-attention; :class:`AttentionBranch` evaluates it.

    Args:
        width: Channels C.
        heads: Number of heads.
        qkv_bias: Whether queries, keys and values have biases.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        check_heads(width, heads)
        self.num_heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(0.0)


class RevFFN(nn.Module):
    """Linear, GELU, linear, under the names of mmcv's ``FFN`` (``layers.0.0``)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(width, hidden), nn.GELU()),
            nn.Linear(hidden, width),
        )


class RevViTBlock(nn.Module):
    """Weights of one block: ``ln1``, ``attn``, ``ln2`` and ``ffn``.

    Args:
        width: Channels C.
        heads: Attention heads.
        hidden: Width of the hidden layer.
        qkv_bias: Whether queries, keys and values have biases.
        drop_path: Probability to drop a branch of a sample.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, qkv_bias: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.ln1 = LayerNorm(width)
        self.attn = RevAttention(width, heads, qkv_bias)
        self.ln2 = LayerNorm(width)
        self.ffn = RevFFN(width, hidden)
        self.drop_path = drop_path_layer(drop_path)

    def branches(self, tokens: int, chunk: Union[None, int, str]) -> List[Branch]:
        """Attention and feed-forward of a stream with ``tokens`` in a sample."""
        return [
            AttentionBranch(self.ln1, self.attn, self.drop_path, tokens, chunk),
            FeedForwardBranch(
                self.ln2, (self.ffn.layers,), self.hidden, self.drop_path, chunk
            ),
        ]


@MODELS.register_module(force=True)
class RevVisionTransformer(CountedCosts, DualResidualBackbone, BaseModule):
    """Rev-ViT, the member (α, β) = (0, 1) of the dual-residual family.

    With the embedded patches x, the published network is, for every block,

        Y1 = X1 + Attention(LN(X2)),  Y2 = X2 + MLP(LN(Y1)),  X1 = X2 = x at the start

    and returns LN([Y1, Y2]). That is ``x_i = F_i(x_{i-1}) + y_{i-1}, y_i = x_{i-1}``
    with ``y_0 = x_0``, joined as [y_N, x_N] (``fusion='concat_yx'``). There is no class
    token. State-dict keys are those of mmpretrain's ``RevVisionTransformer``, whose
    published weights load as they are.

    Differences from both published codes: attention and MLP of a block have drop-path
    masks of their own, no generator is reseeded, and drop path is off in evaluation.

    Args:
        arch: One of :data:`REV_VIT_ARCHS`, or a dictionary with ``embed_dims``,
            ``num_layers``, ``num_heads`` and, if it is not 4 times ``embed_dims``,
            ``feedforward_channels``.
        img_size: Height and width of the images that the position embeddings are for,
            in pixels; they are interpolated for others.
        patch_size: Height and width of a patch in pixels.
        in_channels: Channels of an image.
        qkv_bias: Whether queries, keys and values have biases.
        drop_path_rate: Probability to drop a branch in the last block, in [0, 1); it
            grows linearly from 0 in the first one.
        out_type: ``'avg_featmap'`` [B, 2C], the mean of the tokens; ``'featmap'``
            [B, 2C, H', W']; or ``'raw'`` [B, N, 2C].
        inflate_input: Whether weights of a file for another number of input channels
            are adapted to ``in_channels``.
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions` other than those of the
            published network.
        init_cfg: MMEngine's initialization; by default the published one.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Source: Reversible Vision Transformers (CVPR 2022).
    """

    plain_class = 'ConventionalVisionTransformer'
    checkpointed_lists = ('layers',)
    has_own_size = True

    def __init__(
        self,
        arch: Union[str, dict] = 'deit-base',
        img_size: int = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        out_type: str = 'avg_featmap',
        dual_residual: Optional[dict] = None,
        inflate_input: bool = False,
        init_cfg: Union[None, dict, List[dict]] = None,
    ) -> None:
        super().__init__(PUBLISHED_INIT if init_cfg is None else init_cfg)
        self.inflate_input = inflate_input
        settings = _settings(arch)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type must be one of {OUT_TYPES}, got {out_type!r}.')
        self.out_type = out_type
        self.embed_dims = settings['embed_dims']
        self.patch_embed = PatchEmbed(
            in_channels, self.embed_dims, *((patch_size,) * 2,) * 2, (0, 0)
        )
        self.grid_size = tuple(self.patch_embed.grid((img_size, img_size)))
        if not all(self.grid_size):
            raise ValueError(
                f'img_size={img_size} holds no patch of patch_size={patch_size} '
                'pixels; make it at least as large.'
            )
        positions = self.grid_size[0] * self.grid_size[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, self.embed_dims))
        depth = settings['num_layers']
        hidden = settings.get('feedforward_channels', 4 * self.embed_dims)
        self.layers = nn.ModuleList(
            RevViTBlock(
                self.embed_dims, settings['num_heads'], hidden, qkv_bias, probability
            )
            for probability in drop_path_rates(drop_path_rate, depth)
        )
        self.ln1 = LayerNorm(2 * self.embed_dims)
        self._init_dual_residual(
            published_member(dual_residual), 1, ('concat_yx', 'concat')
        )

    def init_weights(self) -> None:
        """Initialize the weights as ``init_cfg`` says, and position embeddings."""
        super().init_weights()
        loaded = isinstance(self.init_cfg, dict) and (
            self.init_cfg.get('type') == 'Pretrained'
        )
        if not loaded:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Features of images [B, in_channels, H, W], see ``out_type``, in a tuple.

        Raises:
            ValueError: If the input has another number of axes or channels, or is
                smaller than a patch.
        """
        refuse_symbols(self, x)
        size = self._grid(x)
        plan = self._counted_plan(x)
        branches = [
            branch
            for layer in self.layers
            for branch in layer.branches(size[0] * size[1], self._chunk)
        ]
        return tuple(
            self._run_stage(
                0,
                self._recomputed(self._embed, x, size),
                branches,
                lambda fused: (self._finish(fused, size),),
                [self.ln1],
                padded_plan(plan, 0, branches),
            )
        )

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks, as one stage."""
        arch = config.get('arch', 'deit-base')
        arch = REV_VIT_ARCHS[arch] if isinstance(arch, str) else arch
        return [arch['num_layers']]

    def example_size(self) -> Tuple[int, ...]:
        """Shape [C, H, W] of an image that the position embeddings are for."""
        layer = self.patch_embed.projection
        lengths = (n * step for n, step in zip(self.grid_size, layer.stride))
        return (layer.in_channels, *lengths)

    def _grid(self, x: Tensor) -> GridSize:
        """Patches along height and width; rests are cut off."""
        name, layer = type(self).__name__, self.patch_embed.projection
        if x.dim() != 4 or x.shape[1] != layer.in_channels:
            raise ValueError(
                f'{name} takes images [B, {layer.in_channels}, H, W], got shape '
                f'{tuple(x.shape)}.'
            )
        height, width = self.patch_embed.grid(x.shape[2:])
        if not (height and width):
            raise ValueError(
                f'{name} cuts images into patches of {layer.kernel_size[0]} pixels, '
                f'got {x.shape[2]}x{x.shape[3]}. Resize them to at least one patch.'
            )
        return height, width

    def _embed(self, x: Tensor, size: GridSize) -> Tensor:
        positions = resized_positions(self.pos_embed, self.grid_size, size)
        return self.patch_embed(x) + positions

    def _finish(self, x: Tensor, size: GridSize) -> Tensor:
        """Compute the features of joined streams [B, N, 2C]."""
        x = self.ln1(x)
        if self.out_type == 'avg_featmap':
            return x.mean(1)
        if self.out_type == 'featmap':
            return x.transpose(1, 2).unflatten(2, size).contiguous()
        return x


def _settings(arch: Union[str, dict]) -> Dict[str, Any]:
    """Sizes of an architecture.

    Raises:
        ValueError: If it is unknown or incomplete.
    """
    if isinstance(arch, str):
        if arch not in REV_VIT_ARCHS:
            raise ValueError(
                f'arch must be one of {tuple(REV_VIT_ARCHS)} or a dictionary, got '
                f'{arch!r}; the published Rev-ViT-S and -B are deit-small and '
                'deit-base.'
            )
        return REV_VIT_ARCHS[arch]
    needed = set(REV_VIT_ARCHS['large'])
    known = needed | {'feedforward_channels'}
    if not needed <= set(arch) <= known:
        raise ValueError(
            f'an arch dictionary needs {sorted(needed)} and may have '
            f"'feedforward_channels', got {sorted(arch)}."
        )
    return dict(arch)
