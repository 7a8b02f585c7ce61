"""Transforms of the colors of points, float32 [N, 3] from 0 to 255."""

from typing import Any, Dict, Sequence

import numpy as np
from mmengine.registry import TRANSFORMS

#: Mean and standard deviation that openpoints takes for S3DIS, of colors in [0, 1].
S3DIS_MEAN = (0.5136, 0.4952, 0.4492)
S3DIS_STD = (0.1831, 0.1842, 0.1925)

Sample = Dict[str, Any]


def check_probability(prob: float) -> float:
    """Return a probability.

    Raises:
        ValueError: If it is outside [0, 1].
    """
    if not 0 <= prob <= 1:
        raise ValueError(f'prob is {prob}; it is a probability from 0 to 1')
    return prob


@TRANSFORMS.register_module()
class PointColorAutoContrast:
    """Stretch every channel to the whole range, and blend with the colors.

        c' = (1 − u)·c + u·255·(c − min) / (max − min),  u ~ U(0, 1)

    Args:
        prob: How often it is done.
    """

    def __init__(self, prob: float = 0.2) -> None:
        self.prob = check_probability(prob)

    def __call__(self, sample: Sample) -> Sample:
        """Change ``colors``."""
        if np.random.rand() >= self.prob:
            return sample
        colors = sample['colors']
        low, high = colors.min(axis=0), colors.max(axis=0)
        # A channel of one value stays as it is.
        wide = high > low
        stretched = 255 * (colors - low) / np.where(wide, high - low, 1)
        blend = np.random.rand()
        blended = (1 - blend) * colors + blend * np.where(wide, stretched, colors)
        return dict(sample, colors=blended.astype(np.float32))


@TRANSFORMS.register_module()
class PointColorDrop:
    """Set all colors to 0.

    Args:
        prob: How often it is done.
    """

    def __init__(self, prob: float = 0.2) -> None:
        self.prob = check_probability(prob)

    def __call__(self, sample: Sample) -> Sample:
        """Change ``colors``."""
        if np.random.rand() >= self.prob:
            return sample
        return dict(sample, colors=np.zeros_like(sample['colors']))


@TRANSFORMS.register_module()
class PointColorNormalize:
    """``(c / 255 − mean) / std``.

    Colors whose maximum is 1 or less are not divided by 255, as upstream: dropped ones
    (all 0) stay what they are either way.

    Args:
        mean: Of colors in [0, 1].
        std: Of colors in [0, 1].
    """

    def __init__(
        self,
        mean: Sequence[float] = S3DIS_MEAN,
        std: Sequence[float] = S3DIS_STD,
    ) -> None:
        if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
            raise ValueError(
                f'mean is {list(mean)} and std {list(std)}; give three numbers each, '
                'those of std above 0'
            )
        self.mean = np.asarray(mean, dtype=np.float32)
        self.std = np.asarray(std, dtype=np.float32)

    def __call__(self, sample: Sample) -> Sample:
        """Change ``colors``."""
        colors = sample['colors']
        if colors.max() > 1:
            colors = colors / 255
        return dict(sample, colors=(colors - self.mean) / self.std)
