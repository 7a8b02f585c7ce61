"""Resizing the frames of a window and its masks."""

from typing import Any, Dict, Tuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image

from ..windows import resized_shape


@TRANSFORMS.register_module()
class ResizeWindow(BaseTransform):
    """Resize by DETR's rule, frames bilinear and masks nearest, both with Pillow.

    Masks get the size of the frames, also where theirs differed by a pixel.

    Required key: ``frames``; ``masks`` [n, T', H, W] where there are any. Both change.
    Added key: ``ori_shape``, that of the frames, if there is none.

    Args:
        short: Shorter side in pixels.
        long: Largest longer side in pixels.

    Source: DETR, ``datasets/transforms.py``.
    """

    def __init__(self, short: int = 320, long: int = 576) -> None:
        if not 0 < short <= long:
            raise ValueError(
                f'short is {short} and long {long}; 0 < short <= long is needed'
            )
        self.short, self.long = short, long

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Resize frames and masks."""
        height, width = results['frames'][0].shape[:2]
        results.setdefault('ori_shape', (height, width))
        size = resized_shape(height, width, self.short, self.long)
        results['frames'] = [
            resized(frame, size, Image.Resampling.BILINEAR)
            for frame in results['frames']
        ]
        if 'masks' in results:
            masks = results['masks']
            flat = masks.reshape(-1, *masks.shape[2:]).astype(np.uint8)
            made = [resized(mask, size, Image.Resampling.NEAREST) > 0 for mask in flat]
            shape = (*masks.shape[:2], *size)
            results['masks'] = np.asarray(made, dtype=bool).reshape(shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(short={self.short}, long={self.long})'


def resized(array: np.ndarray, size: Tuple[int, int], method: int) -> np.ndarray:
    """Resize a picture or mask to another height and width."""
    if array.shape[:2] == tuple(size):
        return array
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), method))
