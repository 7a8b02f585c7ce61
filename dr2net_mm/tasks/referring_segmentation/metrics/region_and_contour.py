"""DAVIS's region similarity J and contour accuracy F of two masks."""

from typing import Tuple

import cv2
import numpy as np

#: Share of the diagonal by which contours may be apart.
TOLERANCE = 0.008


def region_similarity(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Compute J = |P ∩ G| / |P ∪ G|; 1 where both are empty.

    Args:
        predicted: bool [H, W].
        truth: bool [H, W].
    """
    union = (predicted | truth).sum()
    return float((predicted & truth).sum() / union) if union else 1.0


def contour_accuracy(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Compute F = 2·precision·recall / (precision + recall) of contour pixels.

    A pixel of one contour is right if the other contour has one within
    ⌈0.008·diagonal⌉ pixels. Where both masks have no contour F is 1, where one has
    none it is 0.

    Args:
        predicted: bool [H, W].
        truth: bool [H, W].

    Source: DAVIS (CVPR 2016), ``f_boundary.py`` of its toolkit.
    """
    reach = int(np.ceil(TOLERANCE * np.linalg.norm(truth.shape)))
    contours = contour(predicted), contour(truth)
    empty = [not edge.any() for edge in contours]
    if all(empty):
        return 1.0
    if any(empty):
        return 0.0
    near = [_grown(edge, reach) for edge in contours]
    precision = (contours[0] & near[1]).sum() / contours[0].sum()
    recall = (contours[1] & near[0]).sum() / contours[1].sum()
    total = precision + recall
    return float(2 * precision * recall / total) if total else 0.0


def contour(mask: np.ndarray) -> np.ndarray:
    """Find pixels that differ from their right, lower or lower right neighbor."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode='edge')
    edge = np.zeros_like(mask)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        height, width = mask.shape
        edge |= mask ^ padded[down : down + height, right : right + width]
    return edge


def _grown(edge: np.ndarray, reach: int) -> np.ndarray:
    """Find pixels within a distance of a contour."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x * x + y * y <= reach * reach).astype(np.uint8)
    return cv2.dilate(edge.astype(np.uint8), disk) > 0


def mean_over_frames(predicted: np.ndarray, truth: np.ndarray) -> Tuple[float, float]:
    """Compute mean J and mean F over the frames of a video.

    Args:
        predicted: bool [T, H, W].
        truth: bool [T, H, W].
    """
    pairs = list(zip(predicted, truth))
    return (
        float(np.mean([region_similarity(*pair) for pair in pairs])),
        float(np.mean([contour_accuracy(*pair) for pair in pairs])),
    )
