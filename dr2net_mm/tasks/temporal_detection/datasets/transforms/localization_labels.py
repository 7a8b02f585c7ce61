"""Segments in seconds as targets on the time axis [0, 1] of a video."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dr2net_mm.errors import DataFileError


@TRANSFORMS.register_module()
class GenerateSegmentLabels(BaseTransform):
    r"""Ground truth of a localizer: segments as fractions of the video, and classes.

    .. math::
        t' = \min(1, \max(0, t / d)), \qquad
        d = \mathtt{duration\_second} \cdot
        \mathtt{feature\_frame} / \mathtt{duration\_frame}

    Without the two frame numbers :math:`d` is the duration. mmaction's
    ``GenerateLocalizationLabels`` computes the same segments and no classes.

    Required keys: ``annotations`` and ``duration_second``; for the classes ``labels``,
    as ``VideoLocalizationDataset`` gives them, or the argument ``classes``.

    Added keys: ``gt_bbox``, float32 [n, 2], and ``gt_label``, int64 [n]. A segment of
    which nothing is within the features is left out of both.

    Args:
        with_label: Whether to add ``gt_label``.
        classes: Class names in order, for datasets that give names only.

    Raises:
        DataFileError: While loading, if a video has no duration or an unknown class.
    """

    def __init__(
        self, with_label: bool = True, classes: Optional[Sequence[str]] = None
    ) -> None:
        self.with_label = with_label
        self.classes = None if classes is None else tuple(classes)

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Add the ground truth of one video."""
        name, duration = results.get('video_name'), float(results['duration_second'])
        if 'feature_frame' in results and 'duration_frame' in results:
            duration *= float(results['feature_frame']) / results['duration_frame']
        if not duration > 0:
            raise DataFileError(
                f'video {name!r} has a duration of {duration} s; give seconds above 0 '
                'in the annotation file'
            )
        annotations = results['annotations']
        segments = [annotation['segment'] for annotation in annotations]
        scaled = np.array(segments, dtype=np.float64).reshape(-1, 2) / duration
        scaled = scaled.clip(0, 1).astype(np.float32)
        inside = scaled[:, 0] < scaled[:, 1]
        results['gt_bbox'] = scaled[inside]
        if self.with_label:
            labels = np.array(self._labels(results), dtype=np.int64)
            results['gt_label'] = labels[inside]
        return results

    def _labels(self, results: Dict[str, Any]) -> List[int]:
        if self.classes is None:
            if 'labels' not in results:
                raise DataFileError(
                    f'video {results.get("video_name")!r} comes without class numbers: '
                    'use VideoLocalizationDataset, give '
                    'GenerateSegmentLabels(classes=[...]), or set with_label=False'
                )
            return list(results['labels'])
        labels = []
        for annotation in results['annotations']:
            if annotation['label'] not in self.classes:
                raise DataFileError(
                    f'video {results.get("video_name")!r} has the class '
                    f'{annotation["label"]!r}, which is not one of the '
                    f'{len(self.classes)} classes of GenerateSegmentLabels; add it '
                    'there or correct the annotation'
                )
            labels.append(self.classes.index(annotation['label']))
        return labels

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(with_label={self.with_label}, '
            f'classes={self.classes})'
        )
