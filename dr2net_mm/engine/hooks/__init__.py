"""Hooks for training dual-residual networks."""

from .activation_checkpoint_hook import ActivationCheckpointHook
from .coefficient_hook import Dr2CoefficientHook
from .early_stopping_hook import ResumableEarlyStoppingHook
from .finite_loss_hook import FiniteLossHook
from .preemption_hook import PreemptionHook
from .reversibility_hook import ReversibilityHook
from .safe_checkpoint_hook import SafeCheckpointHook

__all__ = [
    'ActivationCheckpointHook',
    'Dr2CoefficientHook',
    'FiniteLossHook',
    'PreemptionHook',
    'ResumableEarlyStoppingHook',
    'ReversibilityHook',
    'SafeCheckpointHook',
]
