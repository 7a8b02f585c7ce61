"""Plug-ins for MMEngine's training engine."""

from .hooks import (
    ActivationCheckpointHook,
    Dr2CoefficientHook,
    FiniteLossHook,
    PreemptionHook,
    ResumableEarlyStoppingHook,
    ReversibilityHook,
    SafeCheckpointHook,
)
from .optimizers import LayerDecayOptimWrapperConstructor
from .runner import ResumableEpochLoop, ResumableIterLoop

__all__ = [
    'ActivationCheckpointHook',
    'Dr2CoefficientHook',
    'FiniteLossHook',
    'LayerDecayOptimWrapperConstructor',
    'PreemptionHook',
    'ResumableEarlyStoppingHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'ReversibilityHook',
    'SafeCheckpointHook',
]
