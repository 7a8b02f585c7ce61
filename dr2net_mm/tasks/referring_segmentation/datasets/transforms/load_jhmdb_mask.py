"""Reading the mask of the person in an annotated frame of JHMDB."""

from typing import Any, Dict

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dr2net_mm.errors import DataFileError

from ..jhmdb_files import read_person_masks


@TRANSFORMS.register_module()
class LoadJHMDBMask(BaseTransform):
    """Read the mask of the annotated frame; the person is the only instance.

    Required keys: ``mask_path`` and ``frame``, from 0. Added keys: as of
    :class:`.LoadA2DMasks`.

    Raises:
        DataFileError: If the file is damaged or has no mask of the frame.
    """

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Add the mask of the annotated frame."""
        masks = read_person_masks(results['mask_path'])
        if results['frame'] >= len(masks):
            raise DataFileError(
                f'{results["mask_path"]} has {len(masks)} masks and none of frame '
                f'{results["frame"] + 1}'
            )
        mask = masks[results['frame']]
        results['masks'] = mask[None, None]
        results['referred'] = np.array([True])
        results['truth'] = mask[None]
        results['ori_shape'] = mask.shape
        return results
