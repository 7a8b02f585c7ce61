"""Batches of windows of frames: normalized, then padded."""

from typing import Any, Dict, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@MODELS.register_module()
class ReferringVideoPreprocessor(BaseDataPreprocessor):
    """Normalize windows of RGB frames and pad them at the right and the bottom.

    Padding is zero after the normalization, up to the largest height and width of the
    batch. The samples get the metainfo ``batch_input_shape``.

    Args:
        mean: Of the channels, of 255.
        std: Of the channels, of 255.
        size_divisor: What heights and widths are padded to a multiple of.
        non_blocking: Whether copies to the device do not wait.

    Source: MTTR (CVPR 2022), ``misc.py``.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        size_divisor: int = 1,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if not len(mean) == len(std) == 3 or min(std) <= 0:
            raise ValueError(
                f'mean is {mean} and std {std}; three channels with positive std are '
                'needed.'
            )
        self.size_divisor = size_divisor
        shape = (1, 3, 1, 1)
        self.register_buffer('mean', torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(shape), persistent=False)

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """Batch windows.

        Args:
            data: ``inputs``, windows uint8 [T, 3, H_i, W_i], and ``data_samples``.
            training: Unused; batches are made alike.

        Returns:
            ``inputs`` [B, T, 3, H, W] and the ``data_samples``.

        Raises:
            ValueError: If the windows differ in their number of frames.
        """
        data = self.cast_data(data)
        windows: Sequence[Tensor] = data['inputs']
        lengths = sorted({len(window) for window in windows})
        if len(lengths) > 1:
            raise ValueError(
                f'the windows of a batch have {lengths} frames; videos of different '
                'length need batch_size=1.'
            )
        divisor = self.size_divisor
        height, width = (
            -(-max(window.shape[axis] for window in windows) // divisor) * divisor
            for axis in (2, 3)
        )
        padded = []
        for window in windows:
            normalized = (window.float() - self.mean) / self.std
            below, right = height - window.shape[2], width - window.shape[3]
            padded.append(F.pad(normalized, (0, right, 0, below)))
        samples = data.get('data_samples')
        for sample in samples or ():
            sample.set_metainfo(dict(batch_input_shape=(height, width)))
        return dict(inputs=torch.stack(padded), data_samples=samples)
