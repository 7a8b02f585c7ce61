"""Dual-residual stages as ordinary float operations, for export to other runtimes."""

import contextlib
from typing import Iterator, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.backbones import dual_residual_backbones
from dr2net_mm.reversible import Branch, DualResidualStage, StageOutput
from dr2net_mm.reversible.stage_output import Taps, check_taps
from dr2net_mm.reversible.traced import run_traced


@contextlib.contextmanager
def float_stages(model: nn.Module) -> Iterator[None]:
    """Context in which the stages of a model's backbones are :class:`FloatStage`."""
    with contextlib.ExitStack() as stack:
        for backbone in dual_residual_backbones(model).values():
            stack.enter_context(backbone.replaced_stages(FloatStage))
        yield


class FloatStage:
    """A stage that stands in for a :class:`DualResidualStage` in evaluation mode.

    See :func:`dr2net_mm.reversible.traced.run_traced` for what it computes.

    Args:
        stage: The stage whose options it takes.
    """

    def __init__(self, stage: DualResidualStage) -> None:
        self.name = stage.name
        self.options = stage.options

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
        """Outputs of the stage; the arguments are those of the stage it stands in for.

        Raises:
            RuntimeError: If gradients are enabled.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(f'{self.name} is for export, under torch.no_grad()')
        stage_output = stage_output or StageOutput(self.options.fusion)
        taps = check_taps(taps, len(branches), self.name)
        return run_traced(self.options, x, branches, alpha, beta, stage_output, taps)
