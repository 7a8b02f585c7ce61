"""Memory of a detector's loss, found with random predictions on the host."""

import contextlib
import functools
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from .storage_meter import StorageMeter

#: Methods of heads that form a loss from predictions.
METHODS = ('loss_by_feat', 'loss_and_target')


class _Loss(torch.autograd.Function):
    """A scalar that keeps its inputs, and gradients of theirs that take memory."""

    @staticmethod
    def forward(ctx: Any, *predictions: Tensor) -> Tensor:
        ctx.save_for_backward(*predictions)
        return predictions[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, ...]:
        return tuple(torch.empty_like(saved) for saved in ctx.saved_tensors)


class LossSize(NamedTuple):
    """Bytes of a loss on the host.

    Attributes:
        kept: Live once it is formed: its graph.
        peak: Most at once, forward and backward.
    """

    kept: int
    peak: int


class LossCall:
    """What the loss of a head was called with, without the values of meta tensors.

    Args:
        head: The head.
        method: Its method that forms the loss.
        args: Positional arguments.
        kwargs: Keyword arguments.
        position: Where it was, in the record of a meter.
    """

    def __init__(
        self, head: nn.Module, method: str, args: Any, kwargs: Any, position: int
    ) -> None:
        self.position = position
        self._head = head
        self._method = method
        leaves, self._spec = tree_flatten((args, kwargs))
        self._wanted = [isinstance(x, Tensor) and x.requires_grad for x in leaves]
        self._leaves = [_described(leaf) for leaf in leaves]

    def measure(self) -> LossSize:
        """Count what the loss takes, forward and backward, on the host.

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
            losses = getattr(type(self._head), self._method)(
                self._head, *args, **kwargs
            )
            total = _total(losses)
            del losses
            formed = meter.now
            torch.autograd.backward(total, inputs=predictions)
            for prediction in predictions:
                if prediction.grad is not None:
                    meter.mark_gradient(prediction.grad)
        return LossSize(meter.live_bytes(formed), meter.peak_bytes())


def most_with_losses(losses: Sequence[LossSize], live: Sequence[int]) -> int:
    """Return the most that a step takes while one of its losses is worked on.

    Args:
        losses: Losses in the order of the forward pass. While one is formed, and while
            it is differentiated, the graphs of those before it are there.
        live: What is live beside losses when each of them is formed.
    """
    before = peak = 0
    for loss, others in zip(losses, live):
        peak = max(peak, others + before + loss.peak)
        before += loss.kept
    return peak


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
def recorded_losses(
    model: nn.Module, meter: Optional[StorageMeter] = None
) -> Iterator[List[LossCall]]:
    """Record the calls of the losses of heads, which only keep predictions then.

    Args:
        model: The model.
        meter: What records the memory of its step.
    """
    calls: List[LossCall] = []
    replaced = [
        (head, method)
        for head in model.modules()
        for method in METHODS
        if callable(getattr(type(head), method, None))
    ]
    for head, method in replaced:
        setattr(head, method, functools.partial(_record, calls, meter, head, method))
    try:
        yield calls
    finally:
        for head, method in replaced:
            delattr(head, method)


def _record(
    calls: List[LossCall],
    meter: Optional[StorageMeter],
    head: nn.Module,
    method: str,
    *args: Any,
    **kwargs: Any,
) -> Dict[str, Any]:
    calls.append(LossCall(head, method, args, kwargs, meter.now if meter else 0))
    leaves, _ = tree_flatten((args, kwargs))
    predictions = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
    # Heads put their losses into one dictionary: each has a name of its own.
    losses = {f'loss_{len(calls)}': _Loss.apply(*predictions)}
    if method == 'loss_by_feat':
        return losses
    # Heads for regions name what they return, boxes and masks.
    return dict(loss_bbox=losses, loss_mask=losses)
