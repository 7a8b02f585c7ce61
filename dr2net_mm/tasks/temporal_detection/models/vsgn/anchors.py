"""Anchor segments of VSGN, and how a segment is written relative to one.

Times are in cells of the input's time axis, [0, T]. Widths are inclusive, as in the
released code: ``[start, end]`` is ``end - start + 1`` wide.
"""

import math
from typing import Sequence, Tuple

import torch
from torch import Tensor

SHIFT_WEIGHT = 10.0
WIDTH_WEIGHT = 5.0
MAX_LOG_WIDTH = math.log(1000 / 16)


def pyramid_anchors(
    length: int, strides: Sequence[int], scales: Sequence[float]
) -> Tensor:
    r"""Make the anchors of every level, location and scale.

    The anchor of scale :math:`a` at location :math:`i` of the level of stride
    :math:`s` has its center at :math:`(i + 1/2) s` and the inclusive width :math:`s a`.

    Args:
        length: Cells T of the time axis, divisible by every stride.
        strides: Cells between the locations of each level.
        scales: Widths of the anchors, in strides.

    Returns:
        Starts and ends in cells, [sum(T / stride) · len(scales), 2], ordered by level,
        location and scale. Anchors reach beyond the ends of the axis.
    """
    levels = []
    for stride in strides:
        centers = (torch.arange(length // stride) + 0.5) * stride
        half = (stride * torch.tensor(scales, dtype=torch.float32) - 1) / 2
        starts = centers[:, None] - half
        ends = centers[:, None] + half
        levels.append(torch.stack((starts, ends), dim=-1).view(-1, 2))
    return torch.cat(levels)


def encode(segments: Tensor, anchors: Tensor) -> Tensor:
    r"""Encode segments relative to their anchors.

    .. math::
        d_x = 10 (c - c_a) / w_a, \qquad d_w = 5 \log(w / w_a)

    with centers :math:`c` and inclusive widths :math:`w`.

    Args:
        segments: [..., 2] in cells.
        anchors: [..., 2] in cells.

    Returns:
        :math:`(d_x, d_w)`, [..., 2].
    """
    center, width = _center_and_width(segments)
    anchor_center, anchor_width = _center_and_width(anchors)
    shift = SHIFT_WEIGHT * (center - anchor_center) / anchor_width
    log_width = WIDTH_WEIGHT * torch.log(width / anchor_width)
    return torch.stack((shift, log_width), dim=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    r"""Decode segments from predictions relative to their anchors.

    The inverse of :func:`encode`, in float32, with :math:`d_w / 5` bounded by
    :math:`\log(1000 / 16)`. A segment less than one cell wide ends before it starts,
    by less than a cell.

    Args:
        deltas: :math:`(d_x, d_w)`, [..., 2].
        anchors: [..., 2] in cells.

    Returns:
        [..., 2] in cells.
    """
    deltas = deltas.float()
    anchor_center, anchor_width = _center_and_width(anchors)
    center = anchor_center + deltas[..., 0] / SHIFT_WEIGHT * anchor_width
    log_width = (deltas[..., 1] / WIDTH_WEIGHT).clamp(max=MAX_LOG_WIDTH)
    half = (log_width.exp() * anchor_width - 1) / 2
    return torch.stack((center - half, center + half), dim=-1)


def _center_and_width(segments: Tensor) -> Tuple[Tensor, Tensor]:
    start, end = segments.unbind(-1)
    return (start + end) / 2, end - start + 1
