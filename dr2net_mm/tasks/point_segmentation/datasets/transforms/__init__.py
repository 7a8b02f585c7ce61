"""Transforms of spheres of points, registered in MMEngine's root registry."""

from .colors import PointColorAutoContrast, PointColorDrop, PointColorNormalize
from .geometric import PointJitter, PointRandomRotate, PointRandomScale
from .pack_points import PackPoints

__all__ = [
    'PackPoints',
    'PointColorAutoContrast',
    'PointColorDrop',
    'PointColorNormalize',
    'PointJitter',
    'PointRandomRotate',
    'PointRandomScale',
]
