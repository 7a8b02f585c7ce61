"""Dual-residual stages as ordinary float operations, for export to other runtimes."""

import contextlib
from typing import Iterator, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.backbones import dual_residual_backbones
from dr2net_mm.reversible import DualResidualStage, Stage, StageOutput
from dr2net_mm.reversible.base_stage import StageCall
from dr2net_mm.reversible.stage_output import check_taps
from dr2net_mm.reversible.traced import run_traced


@contextlib.contextmanager
def float_stages(model: nn.Module) -> Iterator[None]:
    """Replace the stages of a model's backbones by :class:`FloatStage`."""
    with contextlib.ExitStack() as stack:
        for backbone in dual_residual_backbones(model).values():
            stack.enter_context(backbone.replaced_stages(FloatStage))
        yield


class FloatStage(Stage):
    """A stage that replaces a :class:`DualResidualStage` in evaluation mode.

    See :func:`dr2net_mm.reversible.traced.run_traced` for what it computes.

    Args:
        stage: The stage whose options it takes.
    """

    def __init__(self, stage: DualResidualStage) -> None:
        self.name = stage.name
        self.options = stage.options

    def run(self, call: StageCall) -> Tuple[Tensor, ...]:
        """Compute the outputs of one call.

        Raises:
            RuntimeError: If gradients are enabled.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(f'{self.name} is for export, under torch.no_grad()')
        return run_traced(
            self.options,
            call.x,
            call.branches,
            call.alpha,
            call.beta,
            call.stage_output or StageOutput(self.options.fusion),
            check_taps(call.taps, len(call.branches), self.name),
        )
