"""Images with one label each."""

from typing import Any, Dict, List

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from dr2net_mm.errors import DataFileError


@DATASETS.register_module()
class ClassificationDataset(BaseDataset):
    """Images and labels of an annotation file in MMEngine's format.

    The file is ``{"metainfo": {"classes": [...]}, "data_list": [{"img_path": ...,
    "gt_label": ...}, ...]}``, paths relative to ``data_prefix=dict(img_path=...)``.

    Args:
        **kwargs: Of MMEngine's ``BaseDataset``.

    Raises:
        DataFileError: If there are no classes, or a label is none of them.
    """

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Return the entries of the annotation file, checked."""
        entries = super().load_data_list()
        classes = self.metainfo.get('classes')
        if not classes:
            raise DataFileError(
                f'{self.ann_file} names no classes; write them under metainfo.classes'
            )
        for entry in entries:
            label = entry.get('gt_label')
            if not isinstance(label, int) or not 0 <= label < len(classes):
                raise DataFileError(
                    f'{self.ann_file}: {entry["img_path"]} has gt_label {label!r}; it '
                    f'must be 0 to {len(classes) - 1}, the number of one of the '
                    f'{len(classes)} classes'
                )
        return entries
