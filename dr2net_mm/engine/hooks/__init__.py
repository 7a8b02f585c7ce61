"""Hooks for training dual-residual networks."""

from .activation_checkpoint_hook import ActivationCheckpointHook
from .coefficient_hook import Dr2CoefficientHook

__all__ = ['ActivationCheckpointHook', 'Dr2CoefficientHook']
