"""Packing of what a temporal action detector takes from a data pipeline."""

from typing import Any, Dict, Sequence

import numpy as np
import torch
from mmaction.structures import ActionDataSample
from mmcv.transforms import BaseTransform, to_tensor
from mmengine.registry import TRANSFORMS
from mmengine.structures import InstanceData

# What mmaction's BMN and ANetMetric, and the localizers of this package, read.
META_KEYS = (
    'video_name',
    'duration_second',
    'duration_frame',
    'feature_frame',
    'annotations',
)


@TRANSFORMS.register_module(force=True)
class PackVideoLocalizationInputs(BaseTransform):
    """Pack the frames of a video and its ground truth.

    mmaction's ``PackActionInputs`` packs frames without segments, and its
    ``PackLocalizationInputs`` segments without frames.

    Required key: ``imgs``, uint8 [1, 3, T, H, W], as
    ``FormatShape(input_format='NCTHW')`` leaves them; every other pipeline is refused.

    Args:
        keys: What becomes ``gt_instances``; what a sample does not have is left out.
        meta_keys: What becomes meta information; likewise.

    Raises:
        ValueError: While loading, if the frames have another shape.
    """

    def __init__(
        self,
        keys: Sequence[str] = ('gt_bbox', 'gt_label'),
        meta_keys: Sequence[str] = META_KEYS,
    ) -> None:
        self.keys = tuple(keys)
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Return ``dict(inputs=..., data_samples=...)``."""
        frames = results['imgs']
        shape = list(np.shape(frames))
        if len(shape) != 5 or shape[0] != 1:
            raise ValueError(
                f'imgs of {results.get("video_name")!r} have the shape {shape}; '
                'expected [1, C, T, H, W]: one clip of one crop, formatted by '
                "FormatShape(input_format='NCTHW')"
            )
        inputs = torch.from_numpy(np.ascontiguousarray(frames))
        data_sample = ActionDataSample()
        present = [key for key in self.keys if key in results]
        if present:
            instances = InstanceData()
            for key in present:
                instances[key] = to_tensor(results[key])
            data_sample.gt_instances = instances
        data_sample.set_metainfo(
            {key: results[key] for key in self.meta_keys if key in results}
        )
        return dict(inputs=inputs, data_samples=data_sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys}, meta_keys={self.meta_keys})'
