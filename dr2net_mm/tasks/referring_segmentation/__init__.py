"""Referring video object segmentation: masks of the object that a sentence names."""

from . import datasets, metrics, models

__all__ = ['datasets', 'metrics', 'models']
