"""The branch of pooling attention of a multiscale vision transformer."""

from math import prod
from typing import Callable, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .chunking import tokens_per_piece
from .drop_path import scale_tokens
from .token_branch import TokenBranch

#: Tokens [B, N, C] of tokens [B, N, C], the size of their grid, how many of them ought
#: to be worked on at a time (None for all), and whether the parts are recomputed.
Attend = Callable[[Tensor, Tuple[int, ...], Optional[int], bool], Tensor]


class PoolingAttentionBranch(TokenBranch):
    """``F(x) = drop_path(attention(norm(x)))``, without the identity.

    Keys and values are pooled over the grid of tokens. Every token of a sample sees all
    of them, so pieces are groups of whole samples. Where a single sample is too large,
    it is worked on part by part, each of which is recomputed in its backward pass.

    Args:
        norm: The norm in front, token by token.
        attention: mmaction's ``MultiScaleAttention`` or our ``PoolingAttention``, with
            convolutions ``pool_k`` and ``pool_v``.
        attend: What evaluates it, see :data:`Attend`.
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
        attend: Attend,
        drop_path: nn.Module,
        size: Sequence[int],
        tokens: int,
        chunk: Union[None, int, str],
        matrices: int = 0,
    ) -> None:
        super().__init__(drop_path, chunk, group=tokens)
        self.norm = norm
        self.attention = attention
        self.attend = attend
        self.size = tuple(size)
        self.matrices = matrices

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        return unique_parameters((self.norm, self.attention))

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
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

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Group samples; the context is how many tokens fit, if no sample does."""
        tokens, channels = stream.numel() // stream.shape[-1], stream.shape[-1]
        values = self.cost(channels).transient_values
        rows = tokens_per_piece(self.chunk, tokens, channels, values)
        if rows is None or rows >= self.group:
            return super().pieces(stream)
        return [Piece(piece.index, rows) for piece in super().pieces(stream)]

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        samples = self.norm(x).view(-1, self.group, x.shape[-1])
        recompute = torch.is_grad_enabled()
        out = self.attend(samples, self.size, piece.context, recompute)
        return scale_tokens(out.view(x.shape), drop_mask, piece)


def pooled_size(pool: nn.Module, size: Sequence[int]) -> List[int]:
    """Return the size of a grid behind a pooling convolution."""
    return [
        (length + 2 * padding - kernel) // stride + 1
        for length, kernel, stride, padding in zip(
            size, pool.kernel_size, pool.stride, pool.padding
        )
    ]
