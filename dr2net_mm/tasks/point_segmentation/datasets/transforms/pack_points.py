"""What a model gets of a sphere."""

from typing import Any, Dict, Sequence

import numpy as np
import torch
from mmengine.registry import TRANSFORMS

from dr2net_mm.tasks.point_segmentation.structures import PointSample


@TRANSFORMS.register_module()
class PackPoints:
    """``inputs`` float32 [N, C] and ``data_samples``.

    Args:
        keys: What the channels are, in order; coordinates come first.
        meta_keys: What goes into the meta information of the sample.

    Raises:
        ValueError: If the channels do not begin with ``'points'``.
    """

    def __init__(
        self,
        keys: Sequence[str] = ('points', 'colors', 'heights'),
        meta_keys: Sequence[str] = ('cloud', 'center'),
    ) -> None:
        if not keys or keys[0] != 'points':
            raise ValueError(
                f"keys are {list(keys)}; the channels of a point begin with 'points'"
            )
        self.keys, self.meta_keys = tuple(keys), tuple(meta_keys)

    def __call__(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Return ``inputs`` and ``data_samples``."""
        channels = [sample[key] for key in self.keys]
        packed = PointSample(metainfo={key: sample[key] for key in self.meta_keys})
        for key in ('labels', 'indices', 'valid'):
            if key in sample:
                setattr(
                    packed, key, torch.from_numpy(np.ascontiguousarray(sample[key]))
                )
        inputs = np.concatenate(channels, axis=1, dtype=np.float32)
        return dict(inputs=torch.from_numpy(inputs), data_samples=packed)
