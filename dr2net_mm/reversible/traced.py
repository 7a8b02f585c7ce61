"""A stage in ordinary float operations, for graphs that other tools record.

``torch.jit.trace`` and ``torch.export`` record operations and know nothing of autograd
functions, streams that change in place, or pieces of a batch.
"""

from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .branch import Branch
from .coefficients import BETA_BITS, beta_numerator
from .options import DualResidualOptions
from .stage_output import StageOutput, Taps


def is_traced() -> bool:
    """Return whether ``torch.jit.trace`` or ``torch.export`` is recording."""
    if torch.jit.is_tracing():
        return True
    # torch before 2.7 tells an export from a compilation by nothing; a compilation
    # leaves the stages out.
    compiler = torch.compiler
    exporting = getattr(compiler, 'is_exporting', None) or getattr(
        compiler, 'is_compiling', None
    )
    return exporting is not None and exporting()


def run_traced(
    options: DualResidualOptions,
    x: Tensor,
    branches: Sequence[Branch],
    alpha: float,
    beta: float,
    stage_output: StageOutput,
    taps: Taps,
) -> Tuple[Tensor, ...]:
    """Run a stage in operations that ordinary autograd differentiates.

        x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    α and β are constants of the graph; a coefficient of 1 takes no multiplication, and
    one of 0 no stream. The numbers are those of evaluation mode in
    ``arithmetic='float'``. Nothing is done in place, nothing depends on the batch size,
    and whole streams are worked on at a time.

    Args:
        options: Options of the stage.
        x: Input x_0.
        branches: The residual branches, in order.
        alpha: Coefficient α.
        beta: Coefficient β.
        stage_output: Fusion and what follows.
        taps: Outputs on the way, by the number of the branch in front of them.
    """
    if options.arithmetic == 'exact':
        beta = beta_numerator(beta) / (1 << BETA_BITS)
    tapped: List[Tensor] = []
    y = _scaled(x, beta)
    for number, branch in enumerate(branches, start=1):
        parts = [branch.export(x), _scaled(x, alpha), y]
        y = _scaled(x, beta)
        total: Any = sum(part for part in parts if part is not None)
        x = total
        if number in taps:
            tapped += taps[number](x)
    if stage_output.fusion != 'last' and y is None:
        y = torch.zeros_like(x)
    return (*tapped, *stage_output(stage_output.join(x, y)))


def _scaled(x: Tensor, factor: float) -> Optional[Tensor]:
    if factor == 0:
        return None
    return x if factor == 1 else x * factor
