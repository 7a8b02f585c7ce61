"""Accuracy and area under the ROC curve."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class ClassificationMetric(BaseMetric):
    """Accuracy and AUC of a classifier.

    - ``accuracy``: share of images whose label has the highest score.
    - ``auc``: of two classes, the probability that a random image of class 1 has a
      higher score of that class than a random image of class 0, ties counted half
      (:func:`area_under_curve`). Of more classes, the mean of one against the rest.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``, see MMEngine.
        prefix: Before the names in the log, ``'classification'`` by default.
    """

    default_prefix = 'classification'

    def __init__(
        self, collect_device: str = 'cpu', prefix: Optional[str] = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[Dict[str, Any]]) -> None:
        """Keep scores and labels of a batch."""
        for sample in data_samples:
            if 'gt_label' not in sample:
                raise ValueError(
                    'an image has no gt_label, so nothing can be measured; give every '
                    'entry of data_list in the annotation file one'
                )
            scores = sample['pred_score'].detach().cpu().numpy()
            self.results.append((scores, int(sample['gt_label'])))

    def compute_metrics(self, results: List[Any]) -> Dict[str, float]:
        """Return both numbers of all images."""
        scores = np.stack([score for score, _ in results])
        labels = np.array([label for _, label in results])
        classes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
        areas = [area_under_curve(scores[:, c], labels == c) for c in classes]
        return dict(
            accuracy=float((scores.argmax(axis=1) == labels).mean()),
            auc=float(np.mean(areas)),
        )


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    r"""Return the area under the ROC curve.

    .. math::
        A = P(s^+ > s^-) + \frac{1}{2} P(s^+ = s^-)

    Args:
        scores: Scores [N].
        positive: Whether each image is of the class [N].

    Returns:
        A number in [0, 1]; NaN where all images, or none, are of the class.
    """
    first, second = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(first) or not len(second):
        return float('nan')
    below = np.searchsorted(second, first, side='left')
    not_above = np.searchsorted(second, first, side='right')
    return float((below + not_above).sum() / (2 * len(first) * len(second)))
