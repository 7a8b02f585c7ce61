"""One package a task, each with ``models``, ``datasets`` and ``metrics``."""

from . import (
    detection,
    point_segmentation,
    referring_segmentation,
    temporal_detection,
)

__all__ = [
    'detection',
    'point_segmentation',
    'referring_segmentation',
    'temporal_detection',
]
