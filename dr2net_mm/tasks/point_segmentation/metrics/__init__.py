"""Metrics, registered in MMEngine's root registry."""

from .point_iou_metric import PointIoUMetric

__all__ = ['PointIoUMetric']
