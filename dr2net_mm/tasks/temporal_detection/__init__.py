"""Temporal action detection from raw frames or features."""

from . import datasets, metrics, models

__all__ = ['datasets', 'metrics', 'models']
