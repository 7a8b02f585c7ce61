"""The branch of global self-attention of a ViT block."""

from typing import List, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.reversible import WHOLE, Branch, Piece, drop_path_scale
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .chunking import tokens_per_piece
from .drop_path import drop_prob_of, scale_tokens


class AttentionBranch(Branch):
    """``F(x) = drop_path(gain · attention(norm(x)))``, without the identity.

    Every token of a sample sees every other one, so pieces are groups of whole samples.

    Args:
        norm: The norm in front, token by token.
        attention: mmaction's VideoMAE ``Attention``.
        drop_path: The block's ``DropPath`` or ``Identity``.
        tokens: Tokens N of a sample.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``; a sample
            is the least.
        gain: Multiplier of every channel of the result (LayerScale), [C].
    """

    def __init__(
        self,
        norm: nn.Module,
        attention: nn.Module,
        drop_path: nn.Module,
        tokens: int,
        chunk: Union[None, int, str],
        gain: Optional[nn.Parameter] = None,
    ) -> None:
        self.norm = norm
        self.attention = attention
        self.drop_path = drop_path
        self.tokens = tokens
        self.chunk = chunk
        self.gain = gain

    def parameters(self) -> List[nn.Parameter]:
        found = unique_parameters((self.norm, self.attention))
        return found if self.gain is None else [*found, self.gain]

    def cost(self, channels: int) -> TokenCost:
        """What the branch costs for each token."""
        heads, scaled = self.attention.num_heads, self.gain is not None
        return TokenCost(
            # The stream, its norm, q, k and v, what is projected, what that is before
            # the gain, and the result; the sum of the weights of each head.
            kept_values=(7 + scaled) * channels + heads,
            # Also the gradients of q, k and v and of what is projected.
            transient_values=(11 + scaled) * channels + heads,
            multiply_adds=(4 * channels + 2 * self.tokens) * channels,
            # mmaction keeps the matrix of weights.
            conventional_values=(6 + scaled) * channels + heads * self.tokens,
            # The input, and the result (scaled by drop path).
            single_values=2 * channels + heads,
        )

    def piece_tokens(self, tokens: int, channels: int) -> Optional[int]:
        """Most tokens of a piece, None for all."""
        values = self.cost(channels).transient_values
        size = tokens_per_piece(self.chunk, tokens, channels, values)
        if size is None:
            return None
        size = max(1, size // self.tokens) * self.tokens
        return size if size < tokens else None

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Groups of samples."""
        channels = stream.shape[-1]
        tokens = stream.numel() // channels
        size = self.piece_tokens(tokens, channels)
        if size is None:
            return WHOLE
        return [Piece(slice(i, min(i + size, tokens))) for i in range(0, tokens, size)]

    def noise(self, stream: Tensor) -> Optional[Tensor]:
        probability = drop_prob_of(self.drop_path)
        scale = drop_path_scale(stream, probability, self.drop_path.training)
        return None if scale is None else scale.repeat_interleave(self.tokens)

    def __call__(self, x: Tensor, piece: Piece, noise: Optional[Tensor]) -> Tensor:
        samples = self.norm(x).view(-1, self.tokens, x.shape[-1])
        out = self_attention(self.attention, samples).view(x.shape)
        if self.gain is not None:
            out = self.gain * out
        return scale_tokens(out, noise, piece)


def self_attention(attention: nn.Module, x: Tensor) -> Tensor:
    """mmaction's ``Attention`` without its matrix of weights.

    Args:
        attention: mmaction's VideoMAE ``Attention``.
        x: Tokens [B, N, C].

    Returns:
        Tensor [B, N, C].
    """
    batch, tokens, _ = x.shape
    if hasattr(attention, 'q_bias'):
        # Keys have none: it would add the same to every logit of a query.
        q_bias, v_bias = attention.q_bias, attention.v_bias
        bias = torch.cat((q_bias, torch.zeros_like(v_bias), v_bias))
        qkv = F.linear(x, attention.qkv.weight, bias)
    else:
        qkv = attention.qkv(x)
    # Cut apart before it is transposed: the gradient is then put together in place.
    qkv = qkv.view(batch, tokens, 3, attention.num_heads, -1)
    q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
    dropout = attention.attn_drop.p if attention.attn_drop.training else 0.0
    out = fused_attention(q, k, v, dropout, attention.scale)
    out = out.transpose(1, 2).reshape(batch, tokens, -1)
    return attention.proj_drop(attention.proj(out))


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, scale: float
) -> Tensor:
    """``dropout(softmax(scale·q·kᵀ))·v`` by a kernel that keeps no N² weights.

    On the CPU torch has such a kernel where there is no dropout.

    Args:
        q, k, v: Tensors [B, heads, N, C / heads].
        dropout: Probability to drop a weight.
        scale: Factor of the logits.
    """
    if q.is_meta:
        # Here torch would choose none, and memory be counted that no device takes.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention
        return kernel(q, k, v, dropout, scale=scale)[0]
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
