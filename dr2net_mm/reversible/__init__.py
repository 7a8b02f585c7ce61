"""Reversible dual-residual networks: the engine, on torch alone.

Read in this order: :mod:`options`, :mod:`stage` (the equations), :mod:`arithmetic`
and :mod:`fixed_point` (how streams are represented and inverted), :mod:`branch`,
:mod:`step`, :mod:`ends` and :mod:`tape` (the reversible backward), :mod:`stored` (its
reference), :mod:`plan` (which steps are stored within a memory budget),
:mod:`schedule`. On a GPU :mod:`fused` and :mod:`kernels` do the arithmetic, with the
same bits.
"""

from .branch import WHOLE, Branch, FunctionBranch, Piece, drop_path_scale
from .coefficients import check_coefficients
from .errors import (
    FixedPointOverflowError,
    ReconstructionError,
    ReversibleError,
    TapeError,
)
from .options import DualResidualOptions
from .schedule import CoefficientSchedule
from .stage import DualResidualStage
from .stage_output import StageOutput

__all__ = [
    'WHOLE',
    'Branch',
    'CoefficientSchedule',
    'DualResidualOptions',
    'DualResidualStage',
    'FixedPointOverflowError',
    'FunctionBranch',
    'StageOutput',
    'Piece',
    'ReconstructionError',
    'ReversibleError',
    'TapeError',
    'check_coefficients',
    'drop_path_scale',
]
