"""Measurement of how exactly a backbone is reversed while it trains."""

import contextlib
from functools import partial
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.reversible.base_stage import uncompiled
from dr2net_mm.reversible.gradient_error import compare_gradients
from dr2net_mm.reversible.probe import ReferenceStage, WatchedStage
from dr2net_mm.reversible.replay import AutocastState, RngState, hooks_silenced


class Sample(NamedTuple):
    """Inputs and gradients of a backbone for some samples of a batch.

    Attributes:
        inputs: Its inputs [K, ...].
        gradients: Gradients of its outputs, [K, ...]; None for an unused output.
        autocast: The autocast settings that it ran under.
    """

    inputs: Tensor
    gradients: Sequence[Optional[Tensor]]
    autocast: AutocastState

    def usable(self) -> bool:
        """Return whether there are gradients, and all are finite.

        They are not where the loss scale of mixed precision was too high, in an
        iteration whose step is skipped.
        """
        present = [gradient for gradient in self.gradients if gradient is not None]
        return bool(present) and all(bool(g.isfinite().all()) for g in present)


class SampleTaker:
    """Observer that takes the first samples of a batch from a training backbone.

    Args:
        backbone: The backbone, inside all wrappers.
        samples: How many.
    """

    def __init__(self, backbone: nn.Module, samples: int) -> None:
        self.samples = samples
        self._sample: Optional[Sample] = None
        self._active = False
        self._handle = backbone.register_forward_hook(self._note)

    def start(self) -> None:
        """Take a sample from the next forward and backward pass."""
        self._sample, self._active = None, True

    def taken(self) -> Optional[Sample]:
        """Return the sample, if there is a usable one, and stop taking more."""
        sample, self._sample, self._active = self._sample, None, False
        return sample if sample is not None and sample.usable() else None

    def remove(self) -> None:
        """Leave the backbone as it was."""
        self._handle.remove()

    @uncompiled
    def _note(self, backbone: nn.Module, arguments: tuple, outputs: Any) -> None:
        if not self._active or not torch.is_grad_enabled() or not arguments:
            return
        outputs = output_list(outputs)
        if not any(output.requires_grad for output in outputs):
            return
        self._active = False
        inputs = arguments[0]
        gradients: List[Optional[Tensor]] = [None] * len(outputs)
        for i, output in enumerate(outputs):
            if output.requires_grad:
                output.register_hook(partial(self._note_gradient, gradients, i))
        first = inputs[: self.samples].detach().clone()
        self._sample = Sample(first, gradients, AutocastState(inputs.device))

    def _note_gradient(
        self, gradients: List[Optional[Tensor]], i: int, gradient: Tensor
    ) -> None:
        gradients[i] = gradient[: self.samples].detach().clone()


class Reversibility(NamedTuple):
    """Errors of one reversible backward pass.

    Attributes:
        gradient: ``|g - r| / |r|`` of the gradients g of all parameters against those
            r of stored activations.
        reconstruction: ``|x̂ - x| / |x|`` of the input of each stage that is
            reconstructed, by the stage's name.
    """

    gradient: float
    reconstruction: Dict[str, float]


def measure(backbone: DualResidualBackbone, sample: Sample) -> Reversibility:
    """Measure the errors on a sample, at the backbone's weights and coefficients.

    Takes about two forward and two backward passes of the sample, and the memory of
    one with the streams of every branch. Parameters and their ``.grad``, buffers,
    random generators and the stages' overflow monitors stay as they are; hooks of
    parameters and of wrappers are not called.
    """
    with _buffers_kept(backbone):
        rng = RngState(sample.inputs.device)
        with backbone.replaced_stages(WatchedStage) as stages:
            gradients = _gradients(backbone, sample, rng)
        with backbone.replaced_stages(ReferenceStage):
            references = _gradients(backbone, sample, rng)
    errors = {stage.name: stage.error() for stage in stages}
    return Reversibility(
        compare_gradients(gradients, references).relative_error,
        {name: error for name, error in errors.items() if error is not None},
    )


def _gradients(
    backbone: DualResidualBackbone, sample: Sample, rng: RngState
) -> List[Optional[Tensor]]:
    """Compute the parameters' gradients from a given random state."""
    with rng.replayed(), torch.enable_grad():
        with sample.autocast.replayed():
            outputs = output_list(backbone.forward(sample.inputs))
        pairs = [
            (output, gradient)
            for output, gradient in zip(outputs, sample.gradients)
            if gradient is not None
        ]
        parameters = [p for p in backbone.parameters() if p.requires_grad]
        with hooks_silenced(parameters):
            return list(
                torch.autograd.grad(
                    [output for output, _ in pairs],
                    parameters,
                    [gradient for _, gradient in pairs],
                    allow_unused=True,
                )
            )


@contextlib.contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """Undo changes of statistics, such as those of batch norm.

    Buffers of integers with dimensions are indices, which nothing changes.
    """
    kept = [
        (buffer, buffer.clone())
        for buffer in module.buffers()
        if buffer.is_floating_point() or not buffer.dim()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
