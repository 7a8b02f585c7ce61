"""Memory of a detector's loss, found with random predictions on the host."""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from dr2net_mm.analysis.memory.storage_meter import StorageMeter

Losses = Dict[str, Tensor]


class _Loss(torch.autograd.Function):
    """A scalar that keeps its inputs, and gradients of theirs that take memory."""

    @staticmethod
    def forward(ctx: Any, *predictions: Tensor) -> Tensor:
        ctx.save_for_backward(*predictions)
        return predictions[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, ...]:
        return tuple(torch.empty_like(saved) for saved in ctx.saved_tensors)


class LossCall:
    """What the loss of a head was called with, without the values of meta tensors.

    Args:
        head: The head.
        args: Positional arguments of its ``loss_by_feat``.
        kwargs: Keyword arguments.
    """

    def __init__(self, head: nn.Module, args: Any, kwargs: Any) -> None:
        self._head = head
        leaves, self._spec = tree_flatten((args, kwargs))
        self._wanted = [isinstance(x, Tensor) and x.requires_grad for x in leaves]
        self._leaves = [_described(leaf) for leaf in leaves]

    def peak_bytes(self) -> int:
        """Count the most that the loss takes, forward and backward, on the host.

        Predictions are random numbers in (0, 1). Their own memory is not counted, nor
        is that of their gradients: both belong to the head.
        """
        generator = torch.Generator().manual_seed(0)
        leaves: List[Any] = [
            leaf(generator) if callable(leaf) else leaf for leaf in self._leaves
        ]
        predictions = [x for x, wanted in zip(leaves, self._wanted) if wanted]
        for prediction in predictions:
            prediction.requires_grad_()
        args, kwargs = tree_unflatten(leaves, self._spec)
        resident = [x for x in leaves if isinstance(x, Tensor)]
        with StorageMeter(resident, device='cpu') as meter:
            losses = type(self._head).loss_by_feat(self._head, *args, **kwargs)
            total = _total(losses)
            torch.autograd.backward(total, inputs=predictions)
            for prediction in predictions:
                if prediction.grad is not None:
                    meter.mark_gradient(prediction.grad)
        return meter.peak_bytes()


def _described(leaf: Any) -> Any:
    """Return how to make a tensor like this one, or the leaf itself."""
    if not isinstance(leaf, Tensor) or leaf.device.type != 'meta':
        return leaf
    shape, dtype = tuple(leaf.shape), leaf.dtype

    def make(generator: torch.Generator) -> Tensor:
        if dtype.is_floating_point:
            numbers = torch.rand(shape, generator=generator)
            return numbers.mul_(0.8).add_(0.1).to(dtype)
        return torch.zeros(shape, dtype=dtype)

    return make


def _total(losses: Dict[str, Any]) -> Tensor:
    """Return the sum of losses, of which some are lists."""
    leaves, _ = tree_flatten(losses)
    return sum(x.sum() for x in leaves if isinstance(x, Tensor) and x.requires_grad)  # type: ignore[return-value]


@contextlib.contextmanager
def recorded_loss(head: nn.Module) -> Iterator[List[LossCall]]:
    """Record the call of a head's loss, in whose place predictions are only kept."""
    calls: List[LossCall] = []

    def record(*args: Any, **kwargs: Any) -> Losses:
        calls.append(LossCall(head, args, kwargs))
        leaves, _ = tree_flatten((args, kwargs))
        predictions = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
        return dict(loss=_Loss.apply(*predictions))

    replaced: Optional[Callable[..., Any]] = vars(head).get('loss_by_feat')
    head.loss_by_feat = record
    try:
        yield calls
    finally:
        del head.loss_by_feat
        if replaced is not None:
            head.loss_by_feat = replaced
