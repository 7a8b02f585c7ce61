r"""Average precision of temporal detection, as ActivityNet defines it.

Of one class and one overlap threshold, predictions of all videos are taken by falling
score. Each may match one annotated segment of its video: of those that no earlier
prediction took, the one with the largest temporal IoU, if that reaches the threshold.
A prediction that matches is a true positive, any other a false one. With the recalls
:math:`r_1 \le r_2 \le \ldots` and precisions :math:`p_k` after each prediction,

.. math::
    \mathrm{AP} = \sum_k (r_k - r_{k-1}) \max_{l \ge k} p_l, \qquad r_0 = 0 .

Source: ``Evaluation/eval_detection.py`` of activitynet/ActivityNet.
"""

from typing import Dict, List, NamedTuple, Sequence

import numpy as np
import torch

from dr2net_mm.tasks.temporal_detection.segments import segment_iou


class Detections(NamedTuple):
    """Predictions of one class in one video, in any order.

    ``segments`` are float64 [n, 2] in seconds, ``scores`` float64 [n].
    """

    segments: np.ndarray
    scores: np.ndarray


def interpolated_average_precision(matched: np.ndarray, positives: int) -> float:
    """Compute the area under the interpolated precision-recall curve.

    Args:
        matched: Whether each prediction is a true positive, by falling score; bool [n].
        positives: Number of annotated segments, at least 1.

    Returns:
        AP in [0, 1]; 0 without predictions.
    """
    true = np.cumsum(matched, dtype=np.float64)
    precision = true / np.arange(1, len(matched) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # Recall rises by 1 / positives at each true positive, and nowhere else.
    return float(best_from_here[np.asarray(matched, dtype=bool)].sum() / positives)


def match_detections(
    segments: np.ndarray, truth: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Find the true positives of one class in one video.

    Args:
        segments: Predictions by falling score, [n, 2].
        truth: Annotated segments, [m, 2].
        thresholds: Temporal IoU that a match needs, [t].

    Returns:
        Whether each prediction matches at each threshold, bool [t, n]. What does not
        end after it starts matches nothing.
    """
    matched = np.zeros((len(thresholds), len(segments)), dtype=bool)
    usable = np.flatnonzero(segments[:, 0] < segments[:, 1])
    truth = truth[truth[:, 0] < truth[:, 1]]
    if not len(usable) or not len(truth):
        return matched
    iou = segment_iou(
        torch.from_numpy(segments[usable]), torch.from_numpy(truth)
    ).numpy()
    free = np.ones((len(thresholds), len(truth)), dtype=bool)
    rows = np.arange(len(thresholds))
    # Most predictions overlap nothing enough at any threshold.
    for index in np.flatnonzero(iou.max(axis=1) >= thresholds.min()):
        candidates = np.where(free, iou[index], -1.0)
        best = candidates.argmax(axis=1)
        hit = candidates[rows, best] >= thresholds
        matched[hit, usable[index]] = True
        free[rows[hit], best[hit]] = False
    return matched


def average_precisions(
    detections: Dict[str, Detections],
    truth: Dict[str, np.ndarray],
    thresholds: Sequence[float],
) -> np.ndarray:
    """Average precision of one class at each threshold.

    Args:
        detections: Predictions of each video. Between equal scores the order is that
            of the videos, and within a video that of its predictions.
        truth: Annotated segments of each video that has any, float64 [m, 2].
        thresholds: Temporal IoU that a match needs, above 0.

    Returns:
        AP in [0, 1], float64 [thresholds].

    Raises:
        ValueError: If no video has an annotated segment.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    positives = sum(len(segments) for segments in truth.values())
    if not positives:
        raise ValueError('AP is not defined for a class without annotated segments')
    nothing = np.zeros((0, 2))
    matched: List[np.ndarray] = [np.zeros((len(limits), 0), dtype=bool)]
    scores: List[np.ndarray] = [np.zeros(0)]
    for video, found in detections.items():
        order = np.argsort(-found.scores, kind='stable')
        matched.append(
            match_detections(found.segments[order], truth.get(video, nothing), limits)
        )
        scores.append(found.scores[order])
    order = np.argsort(-np.concatenate(scores), kind='stable')
    by_score = np.concatenate(matched, axis=1)[:, order]
    return np.array([interpolated_average_precision(m, positives) for m in by_score])
