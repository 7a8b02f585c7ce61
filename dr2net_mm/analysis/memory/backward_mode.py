"""Function modes that stay on while autograd computes gradients."""

from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: Options of ``torch.autograd.grad`` that go beyond one backward pass.
_GRAPH_OPTIONS = ('create_graph', 'is_grads_batched', 'retain_graph')


class BackwardMode(TorchFunctionMode):
    """A mode whose rules hold for recomputations within a backward pass as well.

    ``torch.autograd.grad`` is itself a function that modes see, and torch runs it with
    the mode switched off. A checkpoint within would be recomputed by other kernels than
    those of the forward pass, and torch would refuse that. Here the mode is on again.
    """

    def call(
        self, func: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]
    ) -> Any:
        """Call the function by the rules of the mode."""
        raise NotImplementedError

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Dict[str, Any]] = None,
    ) -> Any:
        """See every function of torch that is called."""
        if func is torch.autograd.grad:
            with self:
                return _grad(*args, **(kwargs or {}))
        return self.call(func, args, kwargs or {})


def run_engine(
    outputs: Sequence[Tensor],
    gradients: Sequence[Tensor],
    inputs: Sequence[Tensor] = (),
    accumulate: bool = True,
) -> Tuple[Optional[Tensor], ...]:
    """Run a backward pass by the engine itself, which no mode sees.

    Args:
        outputs: What is differentiated.
        gradients: Gradient of each of them.
        inputs: With respect to what; none for all leaves.
        accumulate: Whether leaves keep their gradients; otherwise these are returned.
    """
    return torch.autograd.Variable._execution_engine.run_backward(
        tuple(outputs),
        tuple(gradients),
        False,
        False,
        tuple(inputs),
        allow_unreachable=True,
        accumulate_grad=accumulate,
    )


def _grad(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    grad_outputs: Union[None, Tensor, Sequence[Tensor]] = None,
    **options: Any,
) -> Tuple[Optional[Tensor], ...]:
    """``torch.autograd.grad`` of a graph that is not needed any more."""
    wanted = sorted(name for name in _GRAPH_OPTIONS if options.get(name))
    if wanted:
        raise NotImplementedError(
            f'torch.autograd.grad with {wanted[0]} cannot be counted; a graph is '
            'differentiated once here.'
        )
    if grad_outputs is None:
        grad_outputs = [torch.ones_like(output) for output in outputs]
    elif isinstance(grad_outputs, Tensor):
        grad_outputs = [grad_outputs]
    return run_engine(outputs, grad_outputs, inputs, accumulate=False)
