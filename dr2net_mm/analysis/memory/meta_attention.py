"""Attention on meta tensors by the kernels that a GPU would choose."""

from typing import Any, Callable, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .backward_mode import BackwardMode


class FusedMetaAttention(BackwardMode):
    """Context in which attention on meta tensors keeps no matrix of weights.

    On the meta device torch takes the plain way through N² weights, which no GPU does.
    Here it is FlashAttention without a mask, and the memory-efficient kernel with one,
    as on CUDA. Their tensors have four axes; others go torch's way.
    """

    def call(
        self, func: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]
    ) -> Any:
        """Call the function; replace attention by a fused kernel."""
        if func is F.scaled_dot_product_attention and _fusable(*args[:3]):
            return _fused(*args, **kwargs)
        return func(*args, **kwargs)


def _fusable(*tensors: Tensor) -> bool:
    return len(tensors) == 3 and all(t.is_meta and t.dim() == 4 for t in tensors)


def _fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Optional[Tensor] = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Optional[float] = None,
) -> Tensor:
    """Compute ``softmax(scale·q·kᵀ + mask)·v`` of [B, heads, N, C / heads]."""
    if attn_mask is None:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention
        return kernel(q, k, v, dropout_p, is_causal, scale=scale)[0]
    mask = attn_mask.to(q.dtype).expand(*q.shape[:3], k.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(q, k, v, mask, True, dropout_p, is_causal, scale=scale)[0]
