"""The branch of global self-attention of a ViT block."""

from typing import List, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .drop_path import scale_tokens
from .token_branch import TokenBranch


class AttentionBranch(TokenBranch):
    """``F(x) = drop_path(gamma · attention(norm(x)))``, without the identity.

    Every token of a sample sees every other one, so pieces are groups of whole samples.

    Args:
        norm: The norm in front, token by token.
        attention: mmaction's VideoMAE ``Attention``.
        drop_path: The block's ``DropPath`` or ``Identity``.
        tokens: Tokens N of a sample.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``; a sample
            is the least.
        gamma: Multiplier of every channel of the result (LayerScale), [C].
    """

    def __init__(
        self,
        norm: nn.Module,
        attention: nn.Module,
        drop_path: nn.Module,
        tokens: int,
        chunk: Union[None, int, str],
        gamma: Optional[nn.Parameter] = None,
    ) -> None:
        super().__init__(drop_path, chunk, group=tokens)
        self.norm = norm
        self.attention = attention
        self.gamma = gamma

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        found = unique_parameters((self.norm, self.attention))
        return found if self.gamma is None else [*found, self.gamma]

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
        heads, scaled = self.attention.num_heads, self.gamma is not None
        return TokenCost(
            # The stream, its norm, q, k and v, what is projected, what that is before
            # the gamma, and the result; the sum of the weights of each head.
            kept_values=(7 + scaled) * channels + heads,
            # Also the gradients of q, k and v and of what is projected.
            transient_values=(11 + scaled) * channels + heads,
            multiply_adds=(4 * channels + 2 * self.group) * channels,
            # mmaction keeps the matrix of weights.
            conventional_values=(6 + scaled) * channels + heads * self.group,
            # The input, and the result (scaled by drop path).
            single_values=2 * channels + heads,
        )

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        samples = self.norm(x).view(-1, self.group, x.shape[-1])
        out = self_attention(self.attention, samples).view(x.shape)
        if self.gamma is not None:
            out = self.gamma * out
        return scale_tokens(out, drop_mask, piece)

    def export(self, x: Tensor) -> Tensor:
        """Evaluate F on a whole stream in operations that can be exported."""
        out = self_attention(self.attention, self.norm(x), fused=False)
        return out if self.gamma is None else self.gamma * out


def self_attention(attention: nn.Module, x: Tensor, fused: bool = True) -> Tensor:
    """Compute mmaction's ``Attention``, by default without an N² matrix.

    Args:
        attention: mmaction's VideoMAE ``Attention``.
        x: Tokens [B, N, C].
        fused: Whether one kernel does it; tools that count operations know nothing of
            that kernel.

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
    if fused:
        out = fused_attention(q, k, v, dropout, attention.scale)
    else:
        weights = ((q * attention.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        out = (F.dropout(weights, dropout) if dropout else weights) @ v
    out = out.transpose(1, 2).reshape(batch, tokens, -1)
    return attention.proj_drop(attention.proj(out))


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, scale: float
) -> Tensor:
    """Compute ``dropout(softmax(scale·q·kᵀ))·v`` without storing N² weights.

    On the CPU torch has such a kernel where there is no dropout.

    Args:
        q: Queries [B, heads, N, C / heads].
        k: Keys, likewise.
        v: Values, likewise.
        dropout: Probability to drop a weight.
        scale: Factor of the logits.
    """
    if q.is_meta:
        # Here torch would choose none, and memory be counted that no device takes.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention
        return kernel(q, k, v, dropout, scale=scale)[0]
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
