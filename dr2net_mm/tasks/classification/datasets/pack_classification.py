"""The last step of a pipeline of image classification."""

from typing import Any, Dict, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement


@TRANSFORMS.register_module()
class PackClassificationInputs(BaseTransform):
    """Packs an image and its label for a classifier.

    Required keys: ``img`` [H, W] or [H, W, 3] and, where there is one, ``gt_label``.
    Added keys: ``inputs`` [3, H, W], ``data_samples`` with ``gt_label`` [].

    Args:
        meta_keys: Which of the other keys the data sample keeps.
    """

    def __init__(self, meta_keys: Sequence[str] = ('img_path', 'ori_shape')) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Pack the image of one entry."""
        image = results['img']
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        inputs = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        kept = {key: results[key] for key in self.meta_keys if key in results}
        sample = BaseDataElement(metainfo=kept)
        if 'gt_label' in results:
            sample.set_data(dict(gt_label=torch.tensor(int(results['gt_label']))))
        return dict(inputs=inputs, data_samples=sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
