"""The (shifted) window attention branch of a Swin block."""

from math import prod
from typing import List, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .drop_path import scale_tokens
from .token_branch import TokenBranch
from .window_export import MASKED, attention_in_all_windows
from .windows import WindowContext, window_pieces


class WindowAttentionBranch(TokenBranch):
    """``F(x) = drop_path(window_attention(norm(x)))`` of a Swin block.

    The numbers are those of mmdet's ``ShiftWindowMSA`` and of the first part of
    mmaction's ``SwinTransformerBlock3D`` (padding behind the norm, roll, mask, relative
    position bias), for any group of windows at a time: their tokens are gathered by
    index, so that no padded, rolled or partitioned copy of the whole stream is made.

    Args:
        norm: The norm in front, token by token.
        msa: mmdet's ``WindowMSA`` or mmaction's ``WindowAttention3D``.
        drop_path: The block's ``DropPath`` or ``Identity``.
        size: Tokens along each axis of the grid, (H, W) or (D, H, W).
        window: Window along each axis.
        shift: Shift along each axis.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
    """

    def __init__(
        self,
        norm: nn.Module,
        msa: nn.Module,
        drop_path: nn.Module,
        size: Sequence[int],
        window: Sequence[int],
        shift: Sequence[int],
        chunk: Union[None, int, str],
    ) -> None:
        super().__init__(drop_path, chunk)
        self.norm = norm
        self.msa = msa
        self.size = tuple(int(length) for length in size)
        self.window = tuple(int(length) for length in window)
        self.shift = tuple(int(length) for length in shift)

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        return unique_parameters((self.norm, self.msa))

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
        places = prod(self.window)
        weights = self.msa.num_heads * places
        padding = prod(-(-n // w) * w / n for n, w in zip(self.size, self.window))
        # The norm, scaled q, k and v of every place, padding included.
        padded = 4 * channels
        # The input, what is projected and the result; where there is padding, torch
        # also keeps what is copied between it.
        kept = 3 * channels + channels * (padding > 1)
        fused = self.msa.qkv.weight.is_cuda
        return TokenCost(
            kept_values=kept
            + int(padding * (padded + (channels if fused else weights))),
            # Also the logits and the gradients of both.
            transient_values=10 * channels + 4 * weights,
            multiply_adds=4 * channels**2 + 2 * places * channels,
            conventional_values=2 * channels + int(padding * (padded + weights)),
            # The input, the copied norm, the result (scaled by drop path); softmax.
            single_values=kept - channels + int(0 if fused else padding * weights),
            copied_values=int(0 if fused else padding * weights),
        )

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Split the stream into groups of windows."""
        channels = stream.shape[-1]
        size = self.piece_tokens(stream.numel() // channels, channels)
        return window_pieces(
            stream.shape[0],
            self.size,
            self.window,
            self.shift,
            None if size is None else max(1, size // prod(self.window)),
            stream.device,
        )

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        places = prod(self.window)
        out = window_attention(self.msa, self.norm(x), places, piece.context)
        return scale_tokens(out, drop_mask, piece)

    def export(self, x: Tensor) -> Tensor:
        """Evaluate F on a whole stream in operations that can be exported."""
        bias = attention_bias(self.msa, prod(self.window), None)
        return attention_in_all_windows(
            self.msa, self.norm(x), bias, self.size, self.window, self.shift
        )


def window_attention(
    msa: nn.Module, x: Tensor, places: int, context: WindowContext
) -> Tensor:
    """Compute multi-head self-attention within windows.

    Args:
        msa: mmdet's ``WindowMSA`` or mmaction's ``WindowAttention3D``.
        x: Tokens of the windows, without padding, [tokens, C].
        places: Places N of a window; a grid smaller than the window of ``msa`` has
            fewer than that.
        context: Where they stand.

    Returns:
        Tensor [tokens, C].
    """
    tokens, channels = x.shape
    windows = context.windows
    if context.places is not None:
        padded = x.new_zeros(windows * places, channels)
        x = padded.index_copy(0, context.places, x)
    qkv = msa.qkv(x).view(windows, places, 3, msa.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    bias = attention_bias(msa, places, context.region).to(q.dtype)
    dropout = msa.attn_drop.p if msa.attn_drop.training else 0.0
    out = dot_product_attention(q, k, v, bias, dropout, msa.scale)
    out = out.transpose(1, 2).reshape(windows * places, channels)
    if context.places is not None:
        out = out.index_select(0, context.places)
    return msa.proj_drop(msa.proj(out))


def dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, dropout: float, scale: float
) -> Tensor:
    """Compute ``dropout(softmax(scale·q·kᵀ + bias))·v``.

    On CUDA a fused kernel does this without the matrix of weights. On the CPU torch
    has none that gives the bias a gradient, and the way that it falls back to makes
    more passes over that matrix than this one.

    Args:
        q: Queries [windows, heads, N, C / heads].
        k: Keys, likewise.
        v: Values, likewise.
        bias: Tensor [1 or windows, heads, N, N].
        dropout: Probability to drop a weight.
        scale: Factor of the logits.
    """
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, bias, dropout, scale=scale)
    logits = (q * scale) @ k.transpose(-2, -1)
    weights = logits.add_(bias).softmax(dim=-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    return weights @ v


def attention_bias(msa: nn.Module, places: int, region: Optional[Tensor]) -> Tensor:
    """Add the relative position bias and the mask between regions.

    In a window that was clipped to a small grid the bias is that of the first places of
    the whole window, as in mmaction.

    Returns:
        Tensor [1 or windows, heads, N, N].
    """
    index = msa.relative_position_index[:places, :places]
    bias = msa.relative_position_bias_table[index.reshape(-1)]
    bias = bias.view(*index.shape, -1).permute(2, 0, 1).unsqueeze(0)
    if region is None:
        return bias
    different = region.unsqueeze(1) != region.unsqueeze(2)
    mask = torch.zeros_like(different, dtype=bias.dtype)
    return bias + mask.masked_fill_(different, MASKED).unsqueeze(1)
