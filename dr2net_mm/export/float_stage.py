"""Dual-residual stages as ordinary float operations, for export to other runtimes.

The numbers are those of evaluation mode in ``arithmetic='float'``. Nothing is done in
place, nothing depends on the batch size, and whole streams are worked on at a time.
"""

import contextlib
from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.backbones import dual_residual_backbones
from dr2net_mm.reversible import Branch, DualResidualStage, StageOutput
from dr2net_mm.reversible.coefficients import BETA_BITS, beta_numerator
from dr2net_mm.reversible.stage_output import Taps, check_taps


@contextlib.contextmanager
def float_stages(model: nn.Module) -> Iterator[None]:
    """Context in which the stages of a model's backbones are :class:`FloatStage`."""
    with contextlib.ExitStack() as stack:
        for backbone in dual_residual_backbones(model).values():
            stack.enter_context(backbone.replaced_stages(FloatStage))
        yield


class FloatStage:
    """A stage that stands in for a :class:`DualResidualStage` in evaluation mode.

        x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    with α and β as constants; a coefficient of 1 takes no multiplication, and one of
    0 no stream.

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
        if self.options.arithmetic == 'exact':
            beta = beta_numerator(beta) / (1 << BETA_BITS)
        taps = check_taps(taps, len(branches), self.name)
        tapped: List[Tensor] = []
        y = _scaled(x, beta)
        for number, branch in enumerate(branches, start=1):
            parts = [branch.export(x), _scaled(x, alpha), y]
            y = _scaled(x, beta)
            x = sum(part for part in parts if part is not None)
            if number in taps:
                tapped += taps[number](x)
        if stage_output.fusion != 'last' and y is None:
            y = torch.zeros_like(x)
        return (*tapped, *stage_output(stage_output.join(x, y)))


def _scaled(x: Tensor, factor: float) -> Optional[Tensor]:
    if factor == 0:
        return None
    return x if factor == 1 else x * factor
