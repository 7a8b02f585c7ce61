"""Overlap of the best mask of each sentence with its ground truth."""

from typing import Dict, Sequence

import numpy as np

#: Added to intersection and union, so that two empty masks agree.
EPSILON = 1e-6
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def overlap_metrics(
    intersections: Sequence[float], unions: Sequence[float]
) -> Dict[str, float]:
    """Compute precision at thresholds, overall and mean IoU of N images.

        IoU = (I + ε) / (U + ε);  P@K = share of images with IoU > K
        overall IoU = ΣI / ΣU;    mean IoU = mean of IoU

    Args:
        intersections: Pixels in both masks, [N].
        unions: Pixels in one of them, [N].

    Source: MTTR, ``metrics.py``; A2D-Sentences (CVPR 2018).
    """
    intersection = np.asarray(intersections, float)
    union = np.asarray(unions, float)
    ious = (intersection + EPSILON) / (union + EPSILON)
    metrics = {f'P@{k}': float((ious > k).mean()) for k in THRESHOLDS}
    metrics['overall_IoU'] = float(
        (intersection.sum() + EPSILON) / (union.sum() + EPSILON)
    )
    metrics['mean_IoU'] = float(ious.mean())
    return metrics
