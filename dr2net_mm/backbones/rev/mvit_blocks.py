"""Blocks of Rev-MViT: shape-preserving ones, and transitions between the scales."""

from functools import partial
from math import prod
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type, Union

import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.backbones.branches import FeedForwardBranch
from dr2net_mm.backbones.branches.attention import fused_attention
from dr2net_mm.backbones.branches.parts import in_parts, parts_of, recomputed
from dr2net_mm.backbones.branches.pooling_attention import (
    PoolingAttentionBranch,
    pooled_size,
)
from dr2net_mm.reversible import Branch

from .layers import LayerNorm, check_heads, drop_path_layer

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


class PoolingAttention(nn.Module):
    """Multi-head attention whose keys and values are pooled over the grid.

    Args:
        in_width: Channels of the input.
        width: Channels of the result.
        heads: Number of heads; the pooling weights are the same in all of them.
        qkv_bias: Whether queries, keys and values have biases.
        kernel: Kernel of the pooling convolutions.
        stride_kv: Stride of keys and values.
        stride_q: Stride of queries; None where they are not pooled.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        heads: int,
        qkv_bias: bool,
        kernel: Sequence[int],
        stride_kv: Sequence[int],
        stride_q: Union[None, Sequence[int]] = None,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.num_heads = heads
        head_width = width // heads
        self.scale = head_width**-0.5
        self.qkv = nn.Linear(in_width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

        def pool(stride: Sequence[int]) -> nn.Conv3d:
            padding = tuple(length // 2 for length in kernel)
            return nn.Conv3d(
                head_width,
                head_width,
                tuple(kernel),
                tuple(stride),
                padding,
                groups=head_width,
                bias=False,
            )

        if stride_q is not None:
            self.pool_q, self.norm_q = pool(stride_q), LayerNorm(head_width)
        self.pool_k, self.norm_k = pool(stride_kv), LayerNorm(head_width)
        self.pool_v, self.norm_v = pool(stride_kv), LayerNorm(head_width)

    def forward(self, x: Tensor, size: Size) -> Tuple[Tensor, Size]:
        """Tokens [B, N', width] and the size of their grid.

        Args:
            x: Tokens [B, N, in_width].
            size: Size of their grid along time, height and width.
        """
        return self.attend(x, size), self.size_behind(size)

    def attend(
        self,
        x: Tensor,
        size: Size,
        rows: Optional[int] = None,
        recompute: bool = False,
    ) -> Tensor:
        """Tokens [B, N', width].

        Args:
            x: Tokens [B, N, in_width].
            size: Size of their grid along time, height and width.
            rows: How many tokens ought to be worked on at a time, None for all. In
                either case the kernel of the attention keeps no weights; with a number
                queries, keys and values are projected and pooled one after the other.
            recompute: Whether each of the three is evaluated again in its backward
                pass.
        """
        if rows is None:
            qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).unbind(2)
            q, k, v = (self._pooled(part, i, size) for i, part in enumerate(qkv))
        else:
            q, k, v = (
                recomputed(self._projected, x, i, size, when=recompute)
                for i in range(3)
            )
        out = fused_attention(q, k, v, 0.0, self.scale)
        return self.proj(out.transpose(1, 2).flatten(2))

    def size_behind(self, size: Size) -> Size:
        """Size of the grid of the result."""
        if not hasattr(self, 'pool_q'):
            return size
        return tuple(pooled_size(self.pool_q, size))

    def _projected(self, x: Tensor, number: int, size: Size) -> Tensor:
        """Queries, keys or values [B, heads, N', C / heads] of tokens."""
        width = self.proj.in_features
        rows = slice(number * width, (number + 1) * width)
        bias = self.qkv.bias if self.qkv.bias is None else self.qkv.bias[rows]
        found = F.linear(x, self.qkv.weight[rows], bias)
        return self._pooled(found.unflatten(2, (self.num_heads, -1)), number, size)

    def _pooled(self, part: Tensor, number: int, size: Size) -> Tensor:
        """Queries, keys or values from tokens [B, N, heads, C / heads]."""
        heads, which = part.transpose(1, 2), 'qkv'[number]
        if not hasattr(self, f'pool_{which}'):
            return heads
        pool, norm = getattr(self, f'pool_{which}'), getattr(self, f'norm_{which}')
        return pooled(heads, pool, norm, size)


def pooled(x: Tensor, pool: nn.Module, norm: nn.Module, size: Size) -> Tensor:
    """Tokens [B, heads, N, C] behind a pooling convolution and a norm."""
    batch, heads = x.shape[:2]
    # Channels in front in memory too: in bfloat16 the CPU's gradient of a strided
    # depthwise convolution does not give the same bits twice.
    maps = x.transpose(2, 3).reshape(batch * heads, -1, *size).contiguous()
    tokens = pool(maps).flatten(2).transpose(1, 2)
    return norm(tokens.unflatten(0, (batch, heads)))


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
        """The pooled tokens [B, N', width] that attention is added to."""
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
