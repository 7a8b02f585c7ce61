"""Transforms of the coordinates of points, float32 [N, 3]; heights stay as they are."""

from typing import Any, Dict, Sequence

import numpy as np
from mmengine.registry import TRANSFORMS

Sample = Dict[str, Any]


@TRANSFORMS.register_module()
class PointRandomScale:
    """Scale each axis by a factor of its own, U(low, high).

    Args:
        scale: ``(low, high)``.
    """

    def __init__(self, scale: Sequence[float] = (0.9, 1.1)) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(
                f'scale is {list(scale)}; give (low, high) with 0 < low ≤ high'
            )
        self.low, self.high = scale

    def __call__(self, sample: Sample) -> Sample:
        """Change ``points``."""
        factors = np.random.uniform(self.low, self.high, 3).astype(np.float32)
        return dict(sample, points=sample['points'] * factors)


@TRANSFORMS.register_module()
class PointRandomRotate:
    """Turn the points about the vertical axis by U(−angle, angle).

    Args:
        angle: Radians.
    """

    def __init__(self, angle: float = np.pi) -> None:
        if not 0 <= angle <= np.pi:
            raise ValueError(f'angle is {angle}; give radians from 0 to pi')
        self.angle = angle

    def __call__(self, sample: Sample) -> Sample:
        """Change ``points``."""
        angle = np.random.uniform(-self.angle, self.angle)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float32)
        return dict(sample, points=sample['points'] @ turn.T)


@TRANSFORMS.register_module()
class PointJitter:
    """Move each point by N(0, sigma) along each axis, by ``clip`` at the most.

    Args:
        sigma: Metres.
        clip: Metres.
    """

    def __init__(self, sigma: float = 0.005, clip: float = 0.02) -> None:
        if sigma < 0 or clip <= 0:
            raise ValueError(
                f'sigma is {sigma} and clip {clip}; give meters, 0 or more and above 0'
            )
        self.sigma, self.clip = sigma, clip

    def __call__(self, sample: Sample) -> Sample:
        """Change ``points``."""
        points = sample['points']
        noise = np.random.normal(0, self.sigma, points.shape)
        noise = noise.clip(-self.clip, self.clip).astype(np.float32)
        return dict(sample, points=points + noise)
