"""The branch of pooling attention of a multiscale vision transformer."""

from math import prod
from typing import List, Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .drop_path import scale_tokens
from .token_branch import TokenBranch


class PoolingAttentionBranch(TokenBranch):
    """``F(x) = drop_path(attention(norm(x)))``, without the identity.

    Keys and values are pooled over the grid of tokens. Every token of a sample sees all
    of them, so pieces are groups of whole samples.

    Args:
        norm: The norm in front, token by token.
        attention: From tokens [B, N, C] and the size of their grid to tokens
            [B, N, C] and a size: mmaction's ``MultiScaleAttention`` or our
            ``PoolingAttention``, with convolutions ``pool_k`` and ``pool_v``.
        drop_path: The block's ``DropPath`` or ``Identity``.
        size: Size of the grid along time, height and width.
        tokens: Tokens N of a sample, those outside of the grid included.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``; a sample
            is the least.
        matrices: How many matrices of attention weights the attention keeps.
    """

    def __init__(
        self,
        norm: nn.Module,
        attention: nn.Module,
        drop_path: nn.Module,
        size: Sequence[int],
        tokens: int,
        chunk: Union[None, int, str],
        matrices: int = 0,
    ) -> None:
        super().__init__(drop_path, chunk, group=tokens)
        self.norm = norm
        self.attention = attention
        self.size = tuple(size)
        self.matrices = matrices

    def parameters(self) -> List[nn.Parameter]:
        return unique_parameters((self.norm, self.attention))

    def cost(self, channels: int) -> TokenCost:
        heads = self.attention.num_heads
        seen = prod(pooled_size(self.attention.pool_k, self.size))
        seen += self.group - prod(self.size)
        weights = (self.matrices * seen or 1) * heads
        # Keys and values are pooled, then normed; so are queries in some networks.
        pooled = -(-4 * channels * seen // self.group)
        pooled += 2 * channels * hasattr(self.attention, 'pool_q')
        # The stream, its norm, q, k and v, what is projected, and the result.
        kept = 7 * channels + pooled + weights
        return TokenCost(
            kept_values=kept,
            # Also the gradients of q, k and v, of what is projected and of weights.
            transient_values=kept + 4 * channels + weights,
            multiply_adds=(4 * channels + 2 * seen) * channels,
            # The input, and the result (scaled by drop path).
            single_values=2 * channels,
        )

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        samples = self.norm(x).view(-1, self.group, x.shape[-1])
        out = self.attention(samples, self.size)[0].view(x.shape)
        return scale_tokens(out, drop_mask, piece)


def pooled_size(pool: nn.Module, size: Sequence[int]) -> List[int]:
    """Size of a grid behind a pooling convolution."""
    return [
        (length + 2 * padding - kernel) // stride + 1
        for length, kernel, stride, padding in zip(
            size, pool.kernel_size, pool.stride, pool.padding
        )
    ]
