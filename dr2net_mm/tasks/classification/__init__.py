"""Classification of images by the feature maps of any backbone."""

from . import datasets, metrics, models

__all__ = ['datasets', 'metrics', 'models']
