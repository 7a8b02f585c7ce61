"""Reading the instance masks of an annotated frame of A2D-Sentences."""

from typing import Any, Dict

from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dr2net_mm.errors import DataFileError

from ..a2d_files import read_instances


@TRANSFORMS.register_module()
class LoadA2DMasks(BaseTransform):
    """Read all instances of the annotated frame, and which of them is meant.

    Required keys: ``mask_path`` and ``instance``. Added keys: ``masks`` bool
    [n, 1, H, W] and ``referred`` bool [n]; for evaluation ``truth`` bool [1, H, W], the
    mask of the instance that is meant, and ``ori_shape``, its height and width.

    Raises:
        DataFileError: If the file is damaged or has not the instance.
    """

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Add the masks of an annotation."""
        path = results['mask_path']
        instances = read_instances(path)
        results['masks'] = instances.masks[:, None]
        results['referred'] = instances.ids == results['instance']
        if results['referred'].sum() != 1:
            raise DataFileError(
                f'{path} has the instances {instances.ids.tolist()}; the sentence '
                f'{results["text"]!r} needs {results["instance"]} once'
            )
        results['truth'] = instances.masks[results['referred']]
        results['ori_shape'] = instances.masks.shape[1:]
        return results
