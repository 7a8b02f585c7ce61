"""From the outputs of VSGN for one video to its proposals."""

from typing import List, Tuple

import torch
from torch import Tensor

from dr2net_mm.tasks.temporal_detection.segments import soft_nms


def boundary_confidence(scores: Tensor, positions: Tensor) -> Tensor:
    """Score at a time between cells: the mean of the cell before and the one after.

    Args:
        scores: Scores of the cells, [T].
        positions: Times in cells, [N]; cut to [0, T - 1].

    Returns:
        [N].
    """
    positions = positions.clamp(0, len(scores) - 1)
    before, after = positions.floor().long(), positions.ceil().long()
    return (scores[before] + scores[after]) / 2


def best_proposals(
    segments: Tensor, scores: Tensor, sigma: float, min_score: float, max_num: int
) -> Tuple[Tensor, Tensor, List[int]]:
    """Return a video's proposals after Gaussian soft-NMS within each class.

    Segments without length, which is what the cut to the video makes of those outside
    it, are left out.

    Args:
        segments: [N, 2] in cells.
        scores: Scores of each class, [N, K].
        sigma: Width of the Gaussian.
        min_score: Proposals whose lowered score is not above it are left out.
        max_num: Most proposals, of all classes together.

    Returns:
        Segments [n, 2], scores [n], and the class of each.
    """
    long = segments[:, 1] > segments[:, 0]
    segments, scores = segments[long], scores[long]
    chosen = []
    for label, of_class in enumerate(scores.unbind(1)):
        kept, lowered, index = soft_nms(
            segments, of_class, sigma=sigma, min_score=min_score, max_num=max_num
        )
        chosen.append((kept, lowered, torch.full_like(index, label)))
    kept, lowered, labels = (torch.cat(parts) for parts in zip(*chosen))
    order = lowered.argsort(descending=True, stable=True)[:max_num]
    return kept[order], lowered[order], labels[order].tolist()
