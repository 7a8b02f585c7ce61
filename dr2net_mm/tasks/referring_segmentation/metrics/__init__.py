"""Metrics of referring video object segmentation, in MMEngine's root registry."""

from .referring_segmentation_metric import ReferringSegmentationMetric
from .video_object_metric import VideoObjectMetric

__all__ = ['ReferringSegmentationMetric', 'VideoObjectMetric']
