"""Blocks of Rev-MViT: shape-preserving ones, and transitions between the scales."""

from functools import partial
from math import prod
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type, Union

from torch import Tensor, nn

from dr2net_mm.backbones.branches import FeedForwardBranch
from dr2net_mm.backbones.branches.parts import in_parts, parts_of, recomputed
from dr2net_mm.backbones.branches.pooling_attention import PoolingAttentionBranch
from dr2net_mm.reversible import Branch

from .attention import PoolingAttention, pooled
from .layers import LayerNorm, drop_path_layer

Size = Tuple[int, ...]
Chunk = Union[None, int, str]

#: How a transition makes one stream of two.
STREAM_FUSIONS = ('concat_mlp', 'mean')


class Mlp(nn.Module):
    """Linear, GELU, linear: [..., width] to [..., width]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of the same width."""
        return self.fc2(self.act(self.fc1(x)))


class RevMViTBlock(nn.Module):
    """Weights of a block: ``norm1``, ``attn``, ``norm2`` and ``mlp``.

    Args:
        in_width: Channels of the input of the attention.
        width: Channels of the block's output.
        drop_path: Probability to drop a branch of a sample.
        attention: Further arguments of :class:`PoolingAttention`.
    """

    def __init__(
        self, in_width: int, width: int, drop_path: float, **attention
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(in_width)
        self.attn = PoolingAttention(in_width, width, **attention)
        self.norm2 = LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = drop_path_layer(drop_path)

    def branches(self, size: Size, chunk: Chunk) -> List[Branch]:
        """Attention and feed-forward of a stream on a grid of a size."""
        return [
            PoolingAttentionBranch(
                self.norm1,
                self.attn,
                self.attn.attend,
                self.drop_path,
                size,
                prod(size),
                chunk,
            ),
            FeedForwardBranch(
                self.norm2,
                (self.mlp,),
                self.mlp.fc1.out_features,
                self.drop_path,
                chunk,
            ),
        ]


class TransitionBlock(RevMViTBlock):
    """A block between two scales, an ordinary residual block.

        z = fuse([Y1, Y2]),  z' = r + Attn(LN(z)),  z'' = z' + MLP(LN(z'))

    with r the tokens z (times ``res_proj``, where the widths differ), pooled by the
    convolution and norm of the attention's own queries. Drop path acts on Attn and MLP;
    upstream it acts on z'', so that a dropped sample becomes zero.

    Args:
        stream_width: Channels C of each of the two streams.
        width: Channels of the next scale.
        fuse: ``'concat_mlp'``: z = [Y1, Y2] + MLP([Y1, Y2]), 2C wide; or ``'mean'``:
            z = (Y1 + Y2) / 2, C wide.
        drop_path: Probability to drop a branch of a sample.
        attention: Further arguments of :class:`PoolingAttention`.
    """

    def __init__(
        self,
        stream_width: int,
        width: int,
        fuse: str,
        drop_path: float,
        **attention,
    ) -> None:
        in_width = stream_width * (2 if fuse == 'concat_mlp' else 1)
        super().__init__(in_width, width, drop_path, **attention)
        if fuse == 'concat_mlp':
            self.fuse = Mlp(in_width, 2 * in_width)
        if in_width != width:
            self.res_proj = nn.Linear(in_width, width)

    def forward(
        self, x: Tensor, size: Size, chunk: Chunk = None, recompute: bool = False
    ) -> Tensor:
        """Tokens [B, N', width] of joined streams [B, N, 2C].

        Args:
            x: The streams.
            size: Size of their grid along time, height and width.
            chunk: How many tokens at a time, see ``DualResidualOptions.chunk``: whole
                samples, or where one is too large, parts of it in turn.
            recompute: Whether each part is evaluated again in its backward pass.
        """
        samples, rows = parts_of(x, self._values_per_token(), chunk)
        of_samples = partial(self._of_samples, size, rows, recompute)
        return in_parts(of_samples, x, samples, recompute)

    def _values_per_token(self) -> int:
        """Numbers that it holds for a token while it is differentiated, about."""
        fused = 2 * self.fuse.fc1.out_features if hasattr(self, 'fuse') else 0
        before, width = self.norm1.weight.numel(), self.norm2.weight.numel()
        # Norms and sums; q, k and v, each in two layouts, and gradients of both.
        return fused + 4 * before + 9 * width

    def _of_samples(
        self, size: Size, rows: Optional[int], recompute: bool, x: Tensor
    ) -> Tensor:
        if hasattr(self, 'fuse'):
            z = in_parts(self._fused, x, rows, recompute, dim=1)
        else:
            first, second = x.chunk(2, dim=-1)
            z = (first + second) * 0.5
        return self.transform(z, size, rows, recompute)

    def _fused(self, x: Tensor) -> Tensor:
        return x + self.fuse(x)

    def transform(
        self,
        z: Tensor,
        size: Size,
        rows: Optional[int] = None,
        recompute: bool = False,
    ) -> Tensor:
        """Tokens [B, N', width] of one stream [B, N, in_width].

        Args:
            z: The stream.
            size: Size of its grid.
            rows: How many tokens at a time, None for all of them.
            recompute: Whether each part is evaluated again in its backward pass.
        """
        residual = recomputed(
            self._residual, z, size, when=recompute and rows is not None
        )
        mixed = self.attn.attend(self.norm1(z), size, rows, recompute)
        z = residual + self.drop_path(mixed)
        return z + self.drop_path(in_parts(self._feed, z, rows, recompute, dim=1))

    def _residual(self, z: Tensor, size: Size) -> Tensor:
        """Pool the tokens that attention is added to, [B, N', width]."""
        attn = self.attn
        wide = self.res_proj(z) if hasattr(self, 'res_proj') else z
        heads = wide.unflatten(2, (attn.num_heads, -1)).transpose(1, 2)
        return pooled(heads, attn.pool_q, attn.norm_q, size).transpose(1, 2).flatten(2)

    def _feed(self, z: Tensor) -> Tensor:
        return self.mlp(self.norm2(z))


def make_blocks(
    settings: Dict[str, Any],
    rates: Sequence[float],
    block: Type[RevMViTBlock] = RevMViTBlock,
    transition: Type[TransitionBlock] = TransitionBlock,
) -> Tuple[nn.ModuleList, List[int]]:
    """Blocks of an architecture, and the width of a stream at each scale.

    Args:
        settings: The architecture, see ``REV_MVIT_ARCHS``.
        rates: Drop-path rate of each block.
        block: Class of blocks within a scale.
        transition: Class of blocks between two scales.
    """
    blocks = nn.ModuleList()
    widths, heads = [settings['embed_dims']], settings['num_heads']
    stride_kv = tuple(settings['kv_stride'])
    shared = dict(qkv_bias=settings['qkv_bias'], kernel=settings['pool_kernel'])
    for number, rate in enumerate(rates):
        width = widths[-1]
        if number not in settings['downscale_indices']:
            sizes = dict(heads=heads, stride_kv=stride_kv)
            blocks.append(block(width, width, rate, **sizes, **shared))
            continue
        heads *= 2
        stride_kv = (stride_kv[0], *(max(step // 2, 1) for step in stride_kv[1:]))
        sizes = dict(heads=heads, stride_kv=stride_kv, stride_q=(1, 2, 2))
        blocks.append(
            transition(width, 2 * width, settings['fuse'], rate, **sizes, **shared)
        )
        widths.append(2 * width)
    return blocks, widths
