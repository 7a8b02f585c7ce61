"""Segmentation of point clouds."""

from . import models

__all__ = ['models']
