"""Hooks for training dual-residual networks."""

from .coefficient_hook import Dr2CoefficientHook

__all__ = ['Dr2CoefficientHook']
