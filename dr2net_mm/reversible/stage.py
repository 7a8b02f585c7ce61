"""A stage of residual branches as a dual-residual network."""

from typing import List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from .arithmetic import Arithmetic, make_arithmetics
from .base_stage import Stage, StageCall
from .branch import Branch
from .coefficients import check_coefficients
from .ends import Enter, Leave, Tap
from .monitor import StreamMonitor
from .options import DualResidualOptions
from .replay import AutocastState
from .stage_output import StageOutput, Taps, check_taps
from .step import Step, branch_step
from .stored import run_stored
from .tape import StepRecord, Tape, TapOutputs
from .traced import is_traced, run_traced


class DualResidualStage(Stage):
    """Sequence of residual branches F_1 … F_N, run with two streams.

        y_0 = β·x_0
        x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1}
        y_i = β·x_{i-1}

    It holds no parameters: branches and coefficients are arguments of each call.
    (α, β) = (1, 0) is the pretrained residual network, (0, 1) is RevNet, Rev-ViT and
    Re2TAL, (1, 1) is DrNet. The paper prints y_0 = x_0 beside its Eq. 1, which would
    contradict the first of these.

    Args:
        name: Name of the stage, for messages.
        options: Everything but the current coefficients.
    """

    def __init__(self, name: str, options: DualResidualOptions) -> None:
        self.name = name
        self.options = options
        self.monitor = StreamMonitor(name)

    def run(self, call: StageCall) -> Tuple[Tensor, ...]:
        """Compute the outputs of one call.

        Without gradients, in evaluation as in training mode, nothing is kept. While
        ``torch.jit.trace`` or ``torch.export`` record a graph, the stage runs in the
        ordinary operations of :mod:`dr2net_mm.reversible.traced`.

        In exact arithmetic β is rounded to a multiple of 2**-16. ``stored`` changes
        memory and time and nothing else. The streams go on behind a tap as if nothing
        had been taken.

        Raises:
            ValueError: If a coefficient, the input's type, the number of branches or
                a tap is not what it should be.
            FixedPointOverflowError: If a stream is not finite or out of range.
        """
        x, branches = call.x, call.branches
        alpha, beta = check_coefficients(call.alpha, call.beta)
        self.options.check_reversible(beta)
        if not x.is_floating_point():
            raise ValueError(f'{self.name}: x must be floating point, got {x.dtype}.')
        stage_output = call.stage_output or StageOutput(self.options.fusion)
        taps = check_taps(call.taps, len(branches), self.name)
        autocast = AutocastState(x.device)
        dtype = torch.promote_types(x.dtype, torch.float32)
        if is_traced():
            return run_traced(
                self.options, x, branches, alpha, beta, stage_output, taps
            )
        arithmetics = make_arithmetics(
            self.options,
            alpha,
            beta,
            len(branches),
            dtype,
            branch_dtype=dtype if autocast.enabled() else x.dtype,
        )
        self.monitor.begin()
        if not torch.is_grad_enabled():
            outputs = self._run_plain(x, branches, stage_output, arithmetics, taps)
        elif self.options.backprop == 'stored':
            with autocast.replayed():
                outputs = run_stored(
                    x, branches, stage_output, arithmetics, self.monitor, taps
                )
        else:
            outputs = self._run_reversible(
                x, branches, stage_output, arithmetics, taps, autocast, call.stored
            )
        self.monitor.finish()
        return outputs

    def _run_plain(
        self,
        x0: Tensor,
        branches: Sequence[Branch],
        stage_output: StageOutput,
        arithmetics: Sequence[Arithmetic],
        taps: Taps,
    ) -> Tuple[Tensor, ...]:
        x, y, largest = arithmetics[0].enter(x0)
        self.monitor.note(largest)
        tapped: List[Tensor] = []
        for number, branch in enumerate(branches, start=1):
            arithmetic = arithmetics[number]
            x, y = branch_step(arithmetic, branch, x, y, self.monitor)
            if number in taps:
                tapped += taps[number](taps[number].fuse(arithmetic, x, y))
        return (*tapped, *stage_output(stage_output.fuse(arithmetics[-1], x, y)))

    def _run_reversible(
        self,
        x0: Tensor,
        branches: Sequence[Branch],
        stage_output: StageOutput,
        arithmetics: Sequence[Arithmetic],
        taps: Taps,
        autocast: AutocastState,
        stored: Optional[Sequence[bool]],
    ) -> Tuple[Tensor, ...]:
        tape = Tape(self.name, autocast, self.options.verify)
        token = Enter.apply(x0, tape, arithmetics[0], self.monitor)
        stored = stored or [False] * len(branches)
        for number, (branch, keep) in enumerate(zip(branches, stored), start=1):
            arithmetic = arithmetics[number]
            token = self._run_branch(token, tape, arithmetic, branch, keep)
            if number in taps:
                token = _tap(token, tape, arithmetic, taps[number])
        parameters = trained(stage_output)
        outputs: Tuple[Tensor, ...] = Leave.apply(
            token, tape, arithmetics[-1], stage_output, *parameters
        )
        return outputs

    def _run_branch(
        self,
        token: Tensor,
        tape: Tape,
        arithmetic: Arithmetic,
        branch: Branch,
        keep: bool,
    ) -> Tensor:
        """Run a branch: return the token behind it, the streams on the tape."""
        parameters = trained(branch)
        inputs = [tensor for tensor in branch.inputs() if tensor.requires_grad]
        if not parameters and not inputs and not token.requires_grad:
            # Nothing at or below this branch needs a gradient.
            tape.x, tape.y = branch_step(
                arithmetic, branch, tape.x, tape.y, self.monitor
            )
            return token
        record = StepRecord(arithmetic, branch, branch.pieces(tape.x), parameters, keep)
        behind: Tensor = Step.apply(
            token, tape, record, self.monitor, *parameters, *inputs
        )
        return behind


def _tap(
    token: Tensor, tape: Tape, arithmetic: Arithmetic, output: StageOutput
) -> Tensor:
    """Return the token behind a tap, its outputs on the tape."""
    parameters = trained(output)
    if parameters or token.requires_grad:
        behind: Tensor = Tap.apply(token, tape, arithmetic, output, *parameters)
        return behind
    outputs = output(output.fuse(arithmetic, tape.x, tape.y))
    tape.taps.append(TapOutputs(outputs, frozen=True))
    return token


def trained(part: Union[Branch, StageOutput]) -> List[nn.Parameter]:
    """Return the parameters of a branch or of output layers that need a gradient."""
    return [p for p in part.parameters() if p.requires_grad]
