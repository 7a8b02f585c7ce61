"""Reversible dual-residual networks: the engine, on torch alone.

Read in this order: :mod:`options`, :mod:`stage` (the equations), :mod:`arithmetic`
and :mod:`fixed_point` (how streams are represented and inverted), :mod:`branch`,
:mod:`step`, :mod:`ends` and :mod:`tape` (the reversible backward), :mod:`stored` (its
reference), :mod:`plan` (which steps are stored within a memory budget),
:mod:`schedule`. On a GPU :mod:`fused` and :mod:`kernels` do the arithmetic, with the
same bits. :class:`DualResidualSequential` makes a module of modules, without a config.
"""

from .base_stage import Stage, StageCall
from .branch import (
    WHOLE,
    Branch,
    FunctionBranch,
    Piece,
    TokenCost,
    drop_path_scale,
    unique_parameters,
)
from .coefficients import check_coefficients
from .errors import (
    FixedPointOverflowError,
    ReconstructionError,
    ReversibleError,
    TapeError,
)
from .gradient_error import GradientError, compare_gradients
from .options import DualResidualOptions
from .plan import Plan, StageCost, StepCost, make_plan, step_cost
from .replay import AutocastState
from .schedule import CoefficientSchedule
from .sequential import DualResidualSequential
from .stage import DualResidualStage
from .stage_output import OutputFunction, StageOutput, Taps

__all__ = [
    'WHOLE',
    'AutocastState',
    'Branch',
    'CoefficientSchedule',
    'DualResidualOptions',
    'DualResidualSequential',
    'DualResidualStage',
    'FixedPointOverflowError',
    'FunctionBranch',
    'GradientError',
    'OutputFunction',
    'Piece',
    'Plan',
    'ReconstructionError',
    'ReversibleError',
    'Stage',
    'StageCall',
    'StageCost',
    'StageOutput',
    'StepCost',
    'TapeError',
    'Taps',
    'TokenCost',
    'check_coefficients',
    'compare_gradients',
    'drop_path_scale',
    'make_plan',
    'step_cost',
    'unique_parameters',
]
