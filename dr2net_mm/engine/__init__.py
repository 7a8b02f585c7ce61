"""What plugs into MMEngine's training engine."""

from .hooks import Dr2CoefficientHook

__all__ = ['Dr2CoefficientHook']
