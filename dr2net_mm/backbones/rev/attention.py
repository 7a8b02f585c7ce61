"""Pooling attention of Rev-MViT."""

from math import prod
from typing import Optional, Sequence, Tuple, Union

import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.backbones.branches.attention import fused_attention
from dr2net_mm.backbones.branches.parts import recomputed
from dr2net_mm.backbones.branches.pooling_attention import pooled_size

from .layers import LayerNorm, check_heads

Size = Tuple[int, ...]


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
        """Project tokens to queries, keys or values [B, heads, N', C / heads]."""
        width = self.proj.in_features
        rows = slice(number * width, (number + 1) * width)
        bias = self.qkv.bias if self.qkv.bias is None else self.qkv.bias[rows]
        found = F.linear(x, self.qkv.weight[rows], bias)
        return self._pooled(found.unflatten(2, (self.num_heads, -1)), number, size)

    def _pooled(self, part: Tensor, number: int, size: Size) -> Tensor:
        """Compute queries, keys or values from tokens [B, N, heads, C / heads]."""
        heads, which = part.transpose(1, 2), 'qkv'[number]
        if not hasattr(self, f'pool_{which}'):
            return heads
        pool, norm = getattr(self, f'pool_{which}'), getattr(self, f'norm_{which}')
        return pooled(heads, pool, norm, size)


def pooled(x: Tensor, pool: nn.Module, norm: nn.Module, size: Size) -> Tensor:
    """Tokens [B, heads, N, C] behind a pooling convolution and a norm."""
    heads, _, channels = x.shape[1:]
    # Channels in front in memory too: in bfloat16 the CPU's gradient of a strided
    # depthwise convolution does not give the same bits twice.
    maps = pool(x.transpose(2, 3).reshape(-1, channels, *size).contiguous())
    # The batch is not named, so that exported graphs take any.
    pooled_tokens = maps.flatten(2).reshape(-1, heads, channels, prod(maps.shape[2:]))
    return norm(pooled_tokens.transpose(2, 3))
