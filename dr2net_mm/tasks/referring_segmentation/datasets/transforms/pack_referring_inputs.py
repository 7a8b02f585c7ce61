"""What MTTR takes from a data pipeline."""

from typing import Any, Dict, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement, InstanceData

META_KEYS = ('image_id', 'video', 'expression', 'frame_names')


@TRANSFORMS.register_module()
class PackReferringInputs(BaseTransform):
    """Pack a window of frames, its sentence and its instances.

    Required keys: ``frames``, ``annotated``, ``text`` and ``ori_shape``; ``masks`` and
    ``referred`` where there is ground truth, ``visible`` where frames count one by one,
    ``truth`` for evaluation.

    Args:
        with_truth: Whether to keep the mask of the referred object in its original
            size, ``truth`` [T', H, W], with which a metric compares.
        meta_keys: What else becomes meta information, where a sample has it.
    """

    def __init__(
        self, with_truth: bool = False, meta_keys: Sequence[str] = META_KEYS
    ) -> None:
        self.with_truth = with_truth
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Return ``dict(inputs=uint8 [T, 3, H, W], data_samples=...)``."""
        frames = np.stack(results['frames'])
        inputs = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        sample = BaseDataElement(
            metainfo=dict(
                text=results['text'],
                frames=list(results['annotated']),
                img_shape=tuple(inputs.shape[-2:]),
                ori_shape=tuple(results['ori_shape']),
                **{key: results[key] for key in self.meta_keys if key in results},
            )
        )
        if 'masks' in results:
            truth = InstanceData()
            for key in ('masks', 'referred', 'visible'):
                if key in results:
                    truth[key] = torch.from_numpy(np.ascontiguousarray(results[key]))
            sample.gt_instances = truth
        if self.with_truth and 'truth' in results:
            sample.truth = torch.from_numpy(np.ascontiguousarray(results['truth']))
        return dict(inputs=inputs, data_samples=sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(with_truth={self.with_truth})'
