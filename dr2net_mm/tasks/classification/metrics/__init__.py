"""Metrics, registered in MMEngine's root registry."""

from .classification_metric import ClassificationMetric

__all__ = ['ClassificationMetric']
