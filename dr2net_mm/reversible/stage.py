"""A stage of residual branches as a dual-residual network."""

import functools
from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .arithmetic import Arithmetic, make_arithmetics
from .branch import Branch
from .coefficients import check_coefficients
from .monitor import StreamMonitor
from .options import DualResidualOptions
from .replay import AutocastState
from .stage_output import StageOutput
from .step import Enter, Leave, Step, branch_step
from .stored import run_stored
from .tape import StepRecord, Tape


def uncompiled(function: Callable) -> Callable:
    """``function``, which torch.compile leaves as it is.

    A compiled branch and its evaluation in the backward pass would round differently,
    and coefficients that change would have it compiled again and again.
    """
    disabled: List[Callable] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not disabled:
            # Loads the compiler, as every optimizer does at its first step.
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*args, **kwargs)

    return call


class DualResidualStage:
    """Runs a sequence of residual branches F_1 … F_N with two streams.

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

    @uncompiled
    def __call__(
        self,
        x: Tensor,
        branches: Sequence[Branch],
        alpha: float,
        beta: float,
        stage_output: Optional[StageOutput] = None,
        stored: Optional[Sequence[bool]] = None,
    ) -> Tuple[Tensor, ...]:
        """Outputs of the stage.

        Without gradients, in evaluation as in training mode, nothing is kept.

        Args:
            x: Input x_0, floating point, [..., C].
            branches: The residual branches, in order.
            alpha: Coefficient α in [0, 1].
            beta: Coefficient β in [0, 1]; in exact arithmetic it is rounded to a
                multiple of 2**-16.
            stage_output: Fusion and what follows; by default the fusion of the options.
            stored: For each branch, whether the reversible backward finds its
                activations stored; by default none does. It changes memory and time
                and nothing else.

        Returns:
            The outputs of ``stage_output``; one tensor by default.

        Raises:
            ValueError: If a coefficient, the input's type or the number of branches
                is not what it should be.
            FixedPointOverflowError: If a stream is not finite or out of range.
        """
        alpha, beta = check_coefficients(alpha, beta)
        self.options.check_reversible(beta)
        if not x.is_floating_point():
            raise ValueError(f'{self.name}: x must be floating point, got {x.dtype}.')
        if not branches:
            raise ValueError(f'{self.name}: a stage needs at least one branch.')
        stage_output = stage_output or StageOutput(self.options.fusion)
        autocast = AutocastState(x.device)
        dtype = torch.promote_types(x.dtype, torch.float32)
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
            outputs = self._run_plain(x, branches, stage_output, arithmetics)
        elif self.options.backprop == 'stored':
            with autocast.replayed():
                outputs = run_stored(
                    x, branches, stage_output, arithmetics, self.monitor
                )
        else:
            outputs = self._run_reversible(
                x, branches, stage_output, arithmetics, autocast, stored
            )
        self.monitor.finish()
        return outputs

    def _run_plain(
        self,
        x0: Tensor,
        branches: Sequence[Branch],
        stage_output: StageOutput,
        arithmetics: Sequence[Arithmetic],
    ) -> Tuple[Tensor, ...]:
        x, y, largest = arithmetics[0].enter(x0)
        self.monitor.note(largest)
        for branch, arithmetic in zip(branches, arithmetics[1:]):
            x, y = branch_step(arithmetic, branch, x, y, self.monitor)
        return stage_output(stage_output.fuse(arithmetics[-1], x, y))

    def _run_reversible(
        self,
        x0: Tensor,
        branches: Sequence[Branch],
        stage_output: StageOutput,
        arithmetics: Sequence[Arithmetic],
        autocast: AutocastState,
        stored: Optional[Sequence[bool]],
    ) -> Tuple[Tensor, ...]:
        tape = Tape(self.name, autocast, self.options.verify)
        token = Enter.apply(x0, tape, arithmetics[0], self.monitor)
        stored = stored or [False] * len(branches)
        for branch, arithmetic, keep in zip(branches, arithmetics[1:], stored):
            parameters = [p for p in branch.parameters() if p.requires_grad]
            if not parameters and not token.requires_grad:
                # Nothing at or below this branch needs a gradient.
                tape.x, tape.y = branch_step(
                    arithmetic, branch, tape.x, tape.y, self.monitor
                )
                continue
            record = StepRecord(
                arithmetic, branch, branch.pieces(tape.x), parameters, keep
            )
            token = Step.apply(token, tape, record, self.monitor, *parameters)
        parameters = [p for p in stage_output.parameters() if p.requires_grad]
        return Leave.apply(token, tape, arithmetics[-1], stage_output, *parameters)
