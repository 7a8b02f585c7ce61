"""Segmentation of point clouds."""

from . import datasets, metrics, models

__all__ = ['datasets', 'metrics', 'models']
