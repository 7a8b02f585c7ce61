"""Reading the objects of several frames from palette annotations."""

from typing import Any, Dict

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dr2net_mm.errors import DataFileError

from ..palette_masks import read_palette


@TRANSFORMS.register_module()
class LoadPaletteMasks(BaseTransform):
    """Read all objects of a window, and in which frames each can be seen.

    Required keys: ``mask_paths``, one for each frame of the window, and ``instance``,
    the number of the object that is meant. Added keys: ``masks`` bool [n, T, H, W],
    ``referred`` bool [n], ``visible`` bool [n, T]; for evaluation ``truth`` bool
    [T, H, W] and ``ori_shape``. Objects that no frame shows are none, except the one
    that is meant.

    Raises:
        DataFileError: If a file is damaged or the frames differ in size.
    """

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Add the masks of all frames."""
        numbers = [read_palette(path) for path in results['mask_paths']]
        if len({frame.shape for frame in numbers}) > 1:
            raise DataFileError(
                f'annotations beside {results["mask_paths"][0]} differ in size'
            )
        frames, target = np.stack(numbers), results['instance']
        objects = np.union1d(np.unique(frames[frames > 0]), [target]).astype(int)
        masks = frames[None] == objects[:, None, None, None]
        results['masks'] = masks
        results['referred'] = objects == target
        results['visible'] = masks.any(axis=(2, 3))
        results['truth'] = frames == target
        results['ori_shape'] = frames.shape[1:]
        return results
