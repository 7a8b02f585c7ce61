"""Metrics, registered in MMEngine's root registry."""

from .anet_detection_metric import ANetDetectionMetric

__all__ = ['ANetDetectionMetric']
