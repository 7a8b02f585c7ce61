"""Scores of a segmentation from its confusion matrix."""

from typing import NamedTuple, Sequence, Tuple

import numpy as np


class SegmentationScores(NamedTuple):
    """Scores in percent, of classes that have points.

    Attributes:
        mean_iou: Mean intersection over union (mIoU).
        mean_accuracy: Mean recall (mAcc).
        overall_accuracy: Share of points that are right (OA).
        iou: Of each class, NaN of an absent one.
        recall: Of each class, NaN of an absent one.
        absent: Numbers of classes without a point; they are in none of the means.
    """

    mean_iou: float
    mean_accuracy: float
    overall_accuracy: float
    iou: np.ndarray
    recall: np.ndarray
    absent: Tuple[int, ...]


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, classes: int
) -> np.ndarray:
    """Count points by true (rows) and predicted class (columns).

    Args:
        truth: [n]; points of a label that is no class are left out.
        predicted: [n].
        classes: Number of classes.

    Returns:
        int64 [classes, classes].
    """
    known = (truth >= 0) & (truth < classes)
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def scores_of(confusion: np.ndarray) -> SegmentationScores:
    """Scores of a confusion matrix.

        IoU_c = TP / (TP + FP + FN),  recall_c = TP / (TP + FN)

    A class without a point is left out of the means; upstream counts it as 0 in one
    place and as 100 in another.

    Raises:
        ValueError: If there is no point at all.
    """
    right = np.diag(confusion).astype(np.float64)
    true, found = confusion.sum(axis=1), confusion.sum(axis=0)
    present = true > 0
    if not present.any():
        raise ValueError('no point has a known class; there is nothing to evaluate')
    iou = np.full(len(right), np.nan)
    recall = iou.copy()
    union = true + found - right
    iou[present] = 100 * right[present] / union[present]
    recall[present] = 100 * right[present] / true[present]
    return SegmentationScores(
        float(np.mean(iou[present])),
        float(np.mean(recall[present])),
        float(100 * right.sum() / true.sum()),
        iou,
        recall,
        tuple(np.flatnonzero(~present).tolist()),
    )


def table_of(scores: SegmentationScores, classes: Sequence[str]) -> str:
    """Scores of every class, and of all, as a table."""
    names = [*classes, 'mean']
    iou, recall = ([*column, np.nan] for column in (scores.iou, scores.recall))
    iou[-1], recall[-1] = scores.mean_iou, scores.mean_accuracy
    width = max(map(len, names))
    lines = [f'{"class":{width}}  {"IoU":>6}  {"recall":>6}']
    for row in zip(names, iou, recall):
        cells = ('absent' if np.isnan(value) else f'{value:6.2f}' for value in row[1:])
        lines.append(f'{row[0]:{width}}  {"  ".join(cells)}')
    return '\n'.join(lines)
