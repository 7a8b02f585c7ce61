"""Geometric operators on clouds of points; none of them is differentiable in positions.

On CUDA the sampling and the searches are mmcv's kernels where mmcv has them compiled;
everywhere else they are torch code. Both compute direct differences, never the matrix
product of ``torch.cdist``, which loses what distinguishes near points.
"""

from .farthest_points import farthest_points
from .gathering import gather_points
from .interpolation import interpolate, interpolation_weights
from .nearest_points import nearest_points

__all__ = [
    'farthest_points',
    'gather_points',
    'interpolate',
    'interpolation_weights',
    'nearest_points',
]
