"""The two ends of a reversible stage, and the taps along it.

The streams (x_0, y_0) go on the tape at its entry. Outputs are computed from the
streams at its end, and from x_i behind some branches on the way: at a *tap*. Like the
steps in :mod:`step`, each is an autograd function from token to token. Outputs of taps
leave the stage together with those of its end, so that the backward pass always begins
there and finds the streams; each tap then adds the gradient of its outputs to that of
the stream.
"""

from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .arithmetic import Arithmetic
from .monitor import StreamMonitor
from .replay import RngState, hooks_silenced, replayed
from .stage_output import StageOutput
from .tape import ParameterVersions, Tape, TapOutputs


class Enter(torch.autograd.Function):
    """Stage input to token: the streams (x_0, y_0) go on the tape."""

    @staticmethod
    def forward(
        ctx: Any,
        x0: Tensor,
        tape: Tape,
        arithmetic: Arithmetic,
        monitor: StreamMonitor,
    ) -> Tensor:
        """Put the streams of the input on the tape; return the token."""
        ctx.tape, ctx.arithmetic, ctx.dtype = tape, arithmetic, x0.dtype
        tape.x, tape.y, largest = arithmetic.enter(x0)
        monitor.note(largest)
        return x0.new_empty(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, None, None, None]:
        """Turn the gradients of the streams into that of the input."""
        tape = ctx.tape
        tape.rewind(0)
        gx, gy = tape.gradients
        tape.release()
        # x_0 enters the first stream as it is and the second one times beta.
        gradient = gx if gy is None else gy.mul_(ctx.arithmetic.beta).add_(gx)
        return gradient.to(ctx.dtype), None, None, None


class Layers:
    """Fusion and output layers at one place of a stage, evaluated twice.

    Args:
        tape: The tape, whose streams are those at this place.
        arithmetic: The arithmetic of the streams at this place.
        stage_output: Fusion and layers.
        parameters: Parameters of the layers that get a gradient.
    """

    def __init__(
        self,
        tape: Tape,
        arithmetic: Arithmetic,
        stage_output: StageOutput,
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self.tape = tape
        self.arithmetic = arithmetic
        self.stage_output = stage_output
        self.position = tape.position
        self.versions = ParameterVersions(parameters)
        self.rng: Optional[RngState] = None

    def forward(self) -> Tuple[Tensor, ...]:
        """Compute the outputs without keeping a graph."""
        tape = self.tape
        rng = RngState(tape.x.device)
        # Unlike a branch, nothing is reconstructed from it: no graph, less memory.
        with tape.autocast.replayed(), torch.set_grad_enabled(self.stage_output.graph):
            outputs = self.stage_output(
                self.stage_output.fuse(self.arithmetic, tape.x, tape.y)
            )
        self.rng = None if rng.unchanged() else rng
        return tuple(output.detach() for output in outputs)

    def backward(
        self, grads: Sequence[Optional[Tensor]], needs_streams: bool
    ) -> Tuple[Optional[Tensor], List[Optional[Tensor]]]:
        """Compute the gradients of the fused stream and of the parameters.

        The first is None where it is not needed, and zero where no output needs it; it
        shares no memory with ``grads``.
        """
        tape, parameters = self.tape, list(self.versions.parameters)
        tape.rewind(self.position)
        self.versions.check(f'{tape.name}, after branch {self.position},')
        with torch.enable_grad(), tape.autocast.replayed(), replayed(self.rng):
            fused = self.stage_output.fuse(self.arithmetic, tape.x, tape.y)
            outputs = self.stage_output(fused.requires_grad_(needs_streams))
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads)
            if grad is not None and output.requires_grad
        ]
        wanted = ([fused] if needs_streams else []) + parameters
        found: List[Optional[Tensor]] = [None] * len(wanted)
        if pairs:
            with hooks_silenced(parameters):
                found = list(
                    torch.autograd.grad(
                        [output for output, _ in pairs],
                        wanted,
                        [grad for _, grad in pairs],
                        allow_unused=True,
                    )
                )
        if not needs_streams:
            return None, found
        gradient = found.pop(0)
        if gradient is None:
            gradient = torch.zeros_like(fused)
        return owned(gradient, grads), found


class Tap(torch.autograd.Function):
    """Token to token: outputs of x_i behind a branch go to the end of the stage."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        tape: Tape,
        arithmetic: Arithmetic,
        stage_output: StageOutput,
        *parameters: nn.Parameter,
    ) -> Tensor:
        """Compute the outputs of a tap; pass the token on."""
        ctx.set_materialize_grads(False)
        ctx.layers = Layers(tape, arithmetic, stage_output, parameters)
        ctx.outputs = TapOutputs(ctx.layers.forward())
        tape.taps.append(ctx.outputs)
        return token.new_empty(())

    @staticmethod
    def backward(ctx: Any, grad: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
        """Add the gradient of a tap's outputs to that of the stream."""
        layers, tape = ctx.layers, ctx.layers.tape
        needs_streams = ctx.needs_input_grad[0]
        grads, ctx.outputs.gradients = ctx.outputs.gradients, ()
        if all(one is None for one in grads):
            # The loss does not use these outputs.
            tape.rewind(layers.position)
            found = [None] * len(layers.versions.parameters)
        else:
            gradient, found = layers.backward(grads, needs_streams)
            if gradient is not None:
                tape.gradients.x.add_(gradient.to(layers.arithmetic.dtype))
        if not needs_streams:
            tape.release()
        return (grad, None, None, None, *found)


class Leave(torch.autograd.Function):
    """Token to stage outputs: fusion and output layers, recomputed in the backward."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        tape: Tape,
        arithmetic: Arithmetic,
        stage_output: StageOutput,
        *parameters: nn.Parameter,
    ) -> Tuple[Tensor, ...]:
        """Fuse the streams and compute the outputs of the stage."""
        ctx.set_materialize_grads(False)
        ctx.layers = Layers(tape, arithmetic, stage_output, parameters)
        ctx.taps, tape.taps = tape.taps, []
        outputs: List[Tensor] = []
        frozen: List[Tensor] = []
        for tap in ctx.taps:
            taken = in_their_own_right(tap.take())
            outputs += taken
            frozen += taken if tap.frozen else ()
        ctx.mark_non_differentiable(*frozen)
        return (*outputs, *in_their_own_right(ctx.layers.forward()))

    @staticmethod
    def backward(ctx: Any, *grads: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
        """Recompute the outputs; begin with the gradients of the streams."""
        layers, tape = ctx.layers, ctx.layers.tape
        for tap in ctx.taps:
            tap.gradients, grads = grads[: tap.count], grads[tap.count :]
        needs_streams = ctx.needs_input_grad[0]
        gradient, found = layers.backward(grads, needs_streams)
        if gradient is None:
            tape.release()
            return (None, None, None, None, *found)
        tape.gradients = layers.stage_output.split_gradient(layers.arithmetic, gradient)
        return (gradient.new_zeros(()), None, None, None, *found)


def in_their_own_right(outputs: Sequence[Tensor]) -> Tuple[Tensor, ...]:
    """Return views as tensors that autograd does not treat as views.

    It refuses to change a view in place that an autograd function returns. Nothing
    is copied: the memory behind the view belongs to the output alone.
    """
    return tuple(out.detach() if out._is_view() else out for out in outputs)


def owned(gradient: Tensor, others: Sequence[Optional[Tensor]]) -> Tensor:
    """Return ``gradient`` in memory that none of the other tensors shares."""
    pointers = {other.data_ptr() for other in others if other is not None}
    if gradient.is_contiguous() and gradient.data_ptr() not in pointers:
        return gradient
    return gradient.clone(memory_format=torch.contiguous_format)
