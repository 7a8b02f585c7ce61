"""What plugs into MMEngine's training engine."""

from .hooks import ActivationCheckpointHook, Dr2CoefficientHook

__all__ = ['ActivationCheckpointHook', 'Dr2CoefficientHook']
