"""Calling convention of a stage and of its replacements: one signature."""

import functools
from abc import ABC, abstractmethod
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .branch import Branch
from .stage_output import StageOutput, Taps


class StageCall(NamedTuple):
    """The arguments of one call of a :class:`Stage`.

    Attributes:
        x: Input x_0, floating point, [..., C].
        branches: The residual branches F_1 … F_N, in order.
        alpha: Coefficient α in [0, 1].
        beta: Coefficient β in [0, 1].
        stage_output: Fusion of the streams and the layers behind it; None for the
            fusion of the stage's options alone.
        stored: For each branch, whether the reversible backward finds its activations
            stored; None for no branch.
        taps: Outputs on the way: with ``{n: output}`` what ``output`` makes of x_n,
            the stream behind branch n.
    """

    x: Tensor
    branches: Sequence[Branch]
    alpha: float
    beta: float
    stage_output: Optional[StageOutput] = None
    stored: Optional[Sequence[bool]] = None
    taps: Optional[Taps] = None


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` so that torch.compile leaves it as it is.

    A compiled branch and its evaluation in the backward pass would round differently,
    and each change of a coefficient would trigger another compilation.
    """
    disabled: List[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not disabled:
            # Loads the compiler, as every optimizer does at its first step.
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*args, **kwargs)

    return call


class Stage(ABC):
    """A callable that runs the residual branches of a stage.

    :class:`~dr2net_mm.reversible.stage.DualResidualStage` is one. Measurements and the
    export replace it with others, see ``DualResidualBackbone.replaced_stages``. A
    subclass implements :meth:`run`.
    """

    @abstractmethod
    def run(self, call: StageCall) -> Tuple[Tensor, ...]:
        """Compute the outputs of one call."""

    @uncompiled
    def __call__(
        self,
        x: Tensor,
        branches: Sequence[Branch],
        alpha: float,
        beta: float,
        stage_output: Optional[StageOutput] = None,
        stored: Optional[Sequence[bool]] = None,
        taps: Optional[Taps] = None,
    ) -> Tuple[Tensor, ...]:
        """Run the branches; see :class:`StageCall` for the arguments.

        Returns:
            The outputs of the taps in order of their branches, then those of
            ``stage_output``; one tensor by default.
        """
        return self.run(StageCall(x, branches, alpha, beta, stage_output, stored, taps))
