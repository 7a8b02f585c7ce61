"""Metrics of referring video object segmentation, in MMEngine's root registry."""

from .referring_segmentation_metric import ReferringSegmentationMetric

__all__ = ['ReferringSegmentationMetric']
