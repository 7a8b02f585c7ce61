"""Targets of VSGN's predictions."""

from typing import NamedTuple, Sequence

import torch
from torch import Tensor

from ..common import GroundTruth


class Assignment(NamedTuple):
    """Ground truth of every proposal of a batch.

    Attributes:
        positive: Whether the proposal has a ground truth, bool [B, N].
        segments: That ground truth, [B, N, 2] in cells; zero where there is none.
        labels: Its class, long [B, N]; zero where there is none.
    """

    positive: Tensor
    segments: Tensor
    labels: Tensor


@torch.no_grad()
def boundary_targets(segments: Tensor, length: int, reach: float = 1.5) -> Tensor:
    r"""Compute how much of each cell belongs to a start, an end, an action.

    Intersection over the cell's length, cell :math:`t` being :math:`[t, t + 1]`, of

    - the windows :math:`[s - 1.5, s + 1.5]` around the starts,
    - the windows :math:`[e - 1.5, e + 1.5]` around the ends,
    - the segments :math:`[s, e]` themselves,

    the largest one where there are several.

    Args:
        segments: Ground truth in cells, [n, 2].
        length: Cells T of the time axis.
        reach: Cells on either side of a boundary.

    Returns:
        Start, end and action in [0, 1], [3, T].
    """
    starts, ends = segments.unbind(1)
    windows = torch.stack(
        (
            torch.stack((starts - reach, starts + reach), dim=1),
            torch.stack((ends - reach, ends + reach), dim=1),
            segments,
        )
    )  # [3, n, 2]
    if not len(segments):
        return segments.new_zeros(3, length)
    cells = torch.arange(length, device=segments.device, dtype=segments.dtype)
    covered = torch.min(windows[..., 1:], cells + 1) - torch.max(
        windows[..., :1], cells
    )
    return covered.clamp(min=0).amax(dim=1)


def anchor_iou(anchors: Tensor, segments: Tensor) -> Tensor:
    r"""Compute the IoU by which anchors and proposals are matched.

    .. math::
        \frac{|a \cap g|}{(|a| + 1) + |g| - |a \cap g|}

    The width of the anchor is inclusive and that of the ground truth is not, as in
    both released implementations, whose thresholds belong to this number.

    Args:
        anchors: [N, 2] in cells.
        segments: Ground truth in cells, [n, 2].

    Returns:
        [N, n].
    """
    starts, ends = anchors[:, :1], anchors[:, 1:]
    overlap = torch.min(ends, segments[:, 1]) - torch.max(starts, segments[:, 0])
    overlap = overlap.clamp(min=0)
    width = segments[:, 1] - segments[:, 0]
    return overlap / (ends - starts + 1 + width - overlap)


def match(iou: Tensor, threshold: float) -> Tensor:
    """Match each proposal to its ground truth, or -1.

    A proposal takes the ground truth with which it overlaps most, if their IoU is at
    least the threshold, or if no proposal overlaps some ground truth more than this one
    does (a low-quality match), so that every ground truth that is touched at all has a
    proposal.

    Args:
        iou: [N, n].
        threshold: Lowest IoU of an ordinary match.

    Returns:
        Positions in [0, n), -1 for none, long [N].
    """
    if not iou.shape[1]:
        return iou.new_full((len(iou),), -1, dtype=torch.long)
    best, index = iou.max(dim=1)
    highest = iou.max(dim=0).values
    low_quality = ((iou == highest) & (highest > 0)).any(dim=1)
    return index.masked_fill(~((best >= threshold) | low_quality), -1)


@torch.no_grad()
def assign(
    proposals: Tensor, truths: Sequence[GroundTruth], threshold: float
) -> Assignment:
    """Match the proposals of every video of a batch with its ground truth.

    Args:
        proposals: Anchors or decoded proposals in cells, [B, N, 2].
        truths: Ground truth of each video, segments in cells.
        threshold: Lowest IoU of an ordinary match.
    """
    positive, segments, labels = [], [], []
    for boxes, truth in zip(proposals, truths):
        index = match(anchor_iou(boxes, truth.segments), threshold)
        found = index >= 0
        # One row of zeros more, which is what -1 picks.
        padded = torch.cat((truth.segments, truth.segments.new_zeros(1, 2)))
        positive.append(found)
        segments.append(padded[index])
        labels.append(torch.cat((truth.labels, truth.labels.new_zeros(1)))[index])
    return Assignment(torch.stack(positive), torch.stack(segments), torch.stack(labels))
