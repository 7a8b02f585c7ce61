"""CUDA's autocast rules on meta tensors, which autocast itself passes by."""

from typing import Any, Callable, Dict, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dr2net_mm.reversible.replay import autocast_of

from .backward_mode import BackwardMode, run_engine

_TO_LOW_PRECISION = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    F.scaled_dot_product_attention,
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.matmul,
    torch.mm,
    torch.bmm,
    torch.addmm,
    torch.baddbmm,
    torch.einsum,
    Tensor.matmul,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
    Tensor.mm,
    Tensor.bmm,
    Tensor.addmm,
    Tensor.baddbmm,
}
_TO_FLOAT32 = {
    F.softmax,
    F.log_softmax,
    F.layer_norm,
    F.group_norm,
    F.softplus,
    torch.softmax,
    torch.log_softmax,
    torch.layer_norm,
    torch.exp,
    torch.log,
    torch.pow,
    torch.cumsum,
    torch.rsqrt,
    Tensor.softmax,
    Tensor.log_softmax,
    Tensor.exp,
    Tensor.log,
    Tensor.pow,
    Tensor.__pow__,
    Tensor.cumsum,
    Tensor.rsqrt,
}


class CudaAutocast(BackwardMode):
    """Cast arguments as autocast does on a CUDA device.

    Follows the state of the CPU's autocast, so that `torch.autocast('cpu', …)`
    around a forward, and whatever saves and restores that state for a
    recomputation, work as on a GPU. Operators that are called inside a fused Python
    function, such as `F.multi_head_attention_forward`, are not reached.

    Source: the operator lists of `torch/csrc/autocast_mode.h`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cached_weights: Dict[int, Tuple[Tensor, Tensor]] = {}
        self.caching = True

    def drop_cache(self) -> None:
        """Let go of the cast weights and keep no more: the forward is over."""
        self.caching = False
        self._cached_weights.clear()

    def call(
        self, func: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]
    ) -> Any:
        """Call a function with its arguments cast where autocast would."""
        enabled, dtype = autocast_of('cpu')
        if enabled:
            if func in _TO_LOW_PRECISION:
                args, kwargs = self._cast((args, kwargs), torch.float32, dtype)
            elif func in _TO_FLOAT32:
                for low in (torch.bfloat16, torch.float16):
                    args, kwargs = self._cast((args, kwargs), low, torch.float32)
        return func(*args, **kwargs)

    @staticmethod
    def backward(losses: Sequence[Tensor]) -> None:
        """Run the backward pass of scalars, with the rules in recomputations too."""
        run_engine(losses, [torch.ones_like(loss) for loss in losses])

    def _cast(self, tree: Any, source: torch.dtype, target: torch.dtype) -> Any:
        if isinstance(tree, (tuple, list)):
            return type(tree)(self._cast(item, source, target) for item in tree)
        if isinstance(tree, dict):
            return {key: self._cast(item, source, target) for key, item in tree.items()}
        if not isinstance(tree, Tensor) or tree.dtype != source:
            return tree
        keep = self.caching and torch.is_autocast_cache_enabled()
        if not (keep and tree.is_leaf and tree.requires_grad):
            return tree.to(target)
        if id(tree) not in self._cached_weights:
            self._cached_weights[id(tree)] = (tree, tree.to(target))
        return self._cached_weights[id(tree)][1]
