"""One package a task, each with ``models``, ``datasets`` and ``metrics``."""

from . import (
    classification,
    detection,
    point_segmentation,
    referring_segmentation,
    temporal_detection,
)

__all__ = [
    'classification',
    'detection',
    'point_segmentation',
    'referring_segmentation',
    'temporal_detection',
]
