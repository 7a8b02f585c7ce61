"""The (shifted) window attention branch of a Swin block."""

from math import prod
from typing import List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.reversible import Branch, Piece, drop_path_scale
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .chunking import tokens_per_piece
from .drop_path import drop_prob_of, scale_tokens
from .windows import WindowContext, window_pieces

#: What mmdet adds to the logits of two places of different regions.
MASKED = -100.0


class WindowAttentionBranch(Branch):
    """``F(x) = drop_path(window_attention(norm(x)))`` of mmdet's ``SwinBlock``.

    The numbers are those of mmdet's ``ShiftWindowMSA`` (padding behind the norm, roll,
    mask, relative position bias), for any group of windows at a time: their tokens
    are gathered by index, so that no padded, rolled or partitioned copy of the whole
    stream is made.

    Args:
        norm: The norm in front, token by token.
        attention: mmdet's ``ShiftWindowMSA``.
        size: Height and width of the token grid.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
    """

    def __init__(
        self,
        norm: nn.Module,
        attention: nn.Module,
        size: Tuple[int, int],
        chunk: Union[None, int, str],
    ) -> None:
        self.norm = norm
        self.attention = attention
        self.size = tuple(int(length) for length in size)
        self.chunk = chunk

    def parameters(self) -> List[nn.Parameter]:
        return unique_parameters((self.norm, self.attention))

    def cost(self, channels: int) -> TokenCost:
        """What the branch costs for each token."""
        msa, window = self.attention.w_msa, self.attention.window_size
        places = window**2
        weights = msa.num_heads * places
        padding = prod(-(-n // window) * window / n for n in self.size)
        # The norm, scaled q, k and v of every place, padding included.
        padded = 4 * channels
        # The input, what is projected and the result; where there is padding, torch
        # also keeps what is copied between it.
        kept = 3 * channels + channels * (padding > 1)
        fused = msa.qkv.weight.is_cuda
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

    def piece_tokens(self, tokens: int, channels: int) -> Optional[int]:
        """Most tokens of a piece, None for all."""
        values = self.cost(channels).transient_values
        return tokens_per_piece(self.chunk, tokens, channels, values)

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Groups of windows."""
        places = self.attention.window_size**2
        channels = stream.shape[-1]
        size = self.piece_tokens(stream.numel() // channels, channels)
        return window_pieces(
            stream.shape[0],
            self.size,
            (self.attention.window_size,) * 2,
            (self.attention.shift_size,) * 2,
            None if size is None else max(1, size // places),
            stream.device,
        )

    def noise(self, stream: Tensor) -> Optional[Tensor]:
        drop = self.attention.drop
        scale = drop_path_scale(stream, drop_prob_of(drop), drop.training)
        return None if scale is None else scale.repeat_interleave(stream.shape[1])

    def __call__(self, x: Tensor, piece: Piece, noise: Optional[Tensor]) -> Tensor:
        out = window_attention(self.attention.w_msa, self.norm(x), piece.context)
        return scale_tokens(out, noise, piece)


def window_attention(msa: nn.Module, x: Tensor, context: WindowContext) -> Tensor:
    """Multi-head self-attention within windows.

    Args:
        msa: mmdet's ``WindowMSA``.
        x: Tokens of the windows, without padding, [tokens, C].
        context: Where they stand.

    Returns:
        Tensor [tokens, C].
    """
    tokens, channels = x.shape
    windows, places = context.windows, msa.relative_position_index.shape[0]
    if context.places is not None:
        padded = x.new_zeros(windows * places, channels)
        x = padded.index_copy(0, context.places, x)
    qkv = msa.qkv(x).view(windows, places, 3, msa.num_heads, -1)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    bias = attention_bias(msa, context.region).to(q.dtype)
    dropout = msa.attn_drop.p if msa.attn_drop.training else 0.0
    out = dot_product_attention(q, k, v, bias, dropout, msa.scale)
    out = out.transpose(1, 2).reshape(windows * places, channels)
    if context.places is not None:
        out = out.index_select(0, context.places)
    return msa.proj_drop(msa.proj(out))


def dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, dropout: float, scale: float
) -> Tensor:
    """``dropout(softmax(scale·q·kᵀ + bias))·v``.

    On CUDA a fused kernel does this without the matrix of weights. On the CPU torch
    has none that gives the bias a gradient, and the way that it falls back to makes
    more passes over that matrix than this one.

    Args:
        q, k, v: Tensors [windows, heads, N, C / heads].
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


def attention_bias(msa: nn.Module, region: Optional[Tensor]) -> Tensor:
    """Relative position bias, plus the mask between regions where there are any.

    Returns:
        Tensor [1 or windows, heads, N, N].
    """
    index = msa.relative_position_index
    bias = msa.relative_position_bias_table[index.view(-1)]
    bias = bias.view(*index.shape, -1).permute(2, 0, 1).unsqueeze(0)
    if region is None:
        return bias
    different = region.unsqueeze(1) != region.unsqueeze(2)
    mask = torch.zeros_like(different, dtype=bias.dtype)
    return bias + mask.masked_fill_(different, MASKED).unsqueeze(1)
