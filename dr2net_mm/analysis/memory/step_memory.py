"""Memory of one training step of a module, counted on meta tensors."""

import contextlib
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Optional, Sequence

import torch
from torch import Tensor, nn

from dr2net_mm.errors import UserError

from .cuda_autocast import CudaAutocast
from .meta_attention import FusedMetaAttention
from .storage_meter import StorageMeter
from .work_meter import WorkMeter


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one forward and backward.

    Attributes:
        kept_bytes: live when the forward has returned: everything that the graph
            keeps, and the outputs. Parameters, buffers and the input are not
            counted.
        peak_bytes: most bytes live at once during forward and backward, counted
            alike; storages that end as parameter gradients are not counted either,
            from the moment they appear.
        total_bytes: most bytes live at once, parameters, buffers and the gradients
            present at that moment counted, the input not. Gradients start as None
            and appear during the backward.
        parameter_bytes: parameters and buffers.
        gradient_bytes: gradients of all parameters after the step.
        multiply_adds: of matrix products and convolutions, recomputations included;
            what deformable attention itself computes is not counted.
    """

    kept_bytes: int
    peak_bytes: int
    total_bytes: int
    parameter_bytes: int
    gradient_bytes: int
    multiply_adds: int


def _resident(model: nn.Module) -> List[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _unique_bytes(tensors: Sequence[Tensor]) -> int:
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tensors}
    return sum(storage.nbytes() for storage in storages.values())


@contextlib.contextmanager
def _gradients_marked(model: nn.Module, meter: StorageMeter) -> Iterator[None]:
    handles = [
        parameter.register_post_accumulate_grad_hook(
            lambda done: meter.mark_gradient(done.grad)
        )
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def step_meter(model: nn.Module, *inputs: Tensor) -> StorageMeter:
    """Return a meter of what a step takes beside parameters, buffers and inputs."""
    return StorageMeter([*_resident(model), *inputs])


def measure_step(
    model: nn.Module,
    *inputs: Tensor,
    forward: Optional[Callable[..., Any]] = None,
    amp: Optional[torch.dtype] = None,
    meter: Optional[StorageMeter] = None,
) -> StepMemory:
    """Count the bytes of one forward and backward of a model on the meta device.

    The loss is the sum of all outputs: its gradient takes no memory of its own.
    Outputs are let go of when the loss is formed, as by a neck that has used them.

    Args:
        model: module on the meta device, in training mode.
        inputs: tensors on the meta device.
        forward: called with the inputs in place of the model; returns a tensor or
            nested lists, tuples and dictionaries of them.
        amp: dtype of autocast, by CUDA's rules; None for no autocast.
        meter: what records the storages, where more is to be asked of it than is
            returned; see :func:`step_meter`.

    Raises:
        ValueError: if a parameter is not on the meta device.
        UserError: if no output requires a gradient.
    """
    for name, parameter in model.named_parameters():
        if parameter.device.type != 'meta':
            raise ValueError(
                f'parameter {name} is on {parameter.device}; accepted: meta; move '
                "the model with model.to('meta')"
            )
    model.zero_grad(set_to_none=True)
    meter = meter or step_meter(model, *inputs)
    rules, work = CudaAutocast(), WorkMeter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_gradients_marked(model, meter))
        stack.enter_context(meter)
        stack.enter_context(work)
        stack.enter_context(FusedMetaAttention())
        if amp is not None:
            stack.enter_context(rules)
        with torch.autocast('cpu', dtype=amp or torch.bfloat16, enabled=bool(amp)):
            outputs = (forward or model)(*inputs)
        rules.drop_cache()
        kept = meter.now
        losses = [leaf.sum() for leaf in _differentiable(outputs)]
        del outputs
        if not losses:
            raise UserError(
                'no output of the model requires a gradient; unfreeze some stage'
            )
        rules.backward(losses)
        del losses
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    result = StepMemory(
        kept_bytes=meter.live_bytes(kept),
        peak_bytes=meter.peak_bytes(),
        total_bytes=meter.peak_bytes(gradients=True) + _unique_bytes(_resident(model)),
        parameter_bytes=_unique_bytes(_resident(model)),
        gradient_bytes=_unique_bytes(gradients),
        multiply_adds=work.multiply_adds,
    )
    model.zero_grad(set_to_none=True)
    return result


def _differentiable(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        if outputs.requires_grad:
            yield outputs
    elif isinstance(outputs, dict):
        yield from _differentiable(tuple(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for item in outputs:
            yield from _differentiable(item)
