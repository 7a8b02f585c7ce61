"""Points of the pyramid: where they lie, and which segments they are to find."""

import math
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

#: Segments whose lengths differ by less, in cells, are equally good for a point.
SAME_LENGTH = 1e-3


class Points(NamedTuple):
    """Points of all levels, the first level first; everything in cells of it.

    The cells of the features are [0, 1], [1, 2], …; ``center`` [N], ``stride`` [N],
    and ``low`` and ``high`` [N], the distances that the level is responsible for.
    """

    center: Tensor
    stride: Tensor
    low: Tensor
    high: Tensor

    def decode(self, distances: Tensor) -> Tensor:
        """Decode distances [..., N, 2] in strides into segments in cells."""
        ends = distances * self.stride.unsqueeze(-1)
        return torch.stack(
            (self.center - ends[..., 0], self.center + ends[..., 1]), dim=-1
        )


def level_ranges(
    levels: int, ranges: Optional[Sequence[Tuple[float, float]]] = None
) -> Sequence[Tuple[float, float]]:
    """Return the distances in cells that each level is responsible for.

    The default is four strides for the first level, four to eight for the second, and
    so on; the last has no upper limit.

    Raises:
        ValueError: If there is not one for each level, or one is empty.
    """
    if ranges is None:
        ends = [0.0, *(4.0 * 2**level for level in range(levels - 1)), math.inf]
        ranges = list(zip(ends[:-1], ends[1:]))
    if len(ranges) != levels:
        raise ValueError(
            f'there are {len(ranges)} regression_ranges and {levels} levels; give one '
            'for each level.'
        )
    for low, high in ranges:
        if not 0 <= low < high:
            raise ValueError(
                f'regression range ({low}, {high}) must have 0 <= low < high, in cells.'
            )
    return ranges


def make_points(length: int, ranges: Sequence[Tuple[float, float]]) -> Points:
    """Make the points of a pyramid over ``length`` cells, a level a range.

    A convolution of stride 2 with padding 1 centers its output i on its input 2i, so
    that point i of level l lies at 2^l · i + 0.5, the center of cell 2^l · i.
    """
    rows = []
    for level, (low, high) in enumerate(ranges):
        stride = 2**level
        center = torch.arange(0, length, stride, dtype=torch.float32) + 0.5
        rows.append(
            torch.stack(
                [center, *(torch.full_like(center, x) for x in (stride, low, high))]
            )
        )
    return Points(*torch.cat(rows, dim=1))


def assign_points(
    points: Points,
    segments: Tensor,
    labels: Tensor,
    num_classes: int,
    center_radius: float,
) -> Tuple[Tensor, Tensor]:
    r"""Assign to every point what it is to predict.

    A point at p takes a segment [s, e] with center c if it lies inside the segment and
    near its center, and the farther end is at a distance of its level:

    .. math::
        \max(s, c - r \cdot stride) < p < \min(e, c + r \cdot stride), \qquad
        low \le \max(p - s, e - p) \le high

    Of several it takes the shortest, with the classes of all that are as short.

    Args:
        points: The N points.
        segments: [n, 2] in cells.
        labels: [n].
        num_classes: K.
        center_radius: r, in strides.

    Returns:
        Classes [N, K], zeros and ones, and distances [N, 2] in strides; both zero at
        points that take nothing.

    Source: ActionFormer (ECCV 2022); FCOS (ICCV 2019).
    """
    count = len(points.center)
    if len(segments) == 0:
        return segments.new_zeros(count, num_classes), segments.new_zeros(count, 2)
    center, stride = points.center.view(-1, 1), points.stride.view(-1, 1)
    start, end = segments.unbind(dim=1)
    distances = torch.stack((center - start, end - center), dim=-1)
    middle, reach = (start + end) / 2, center_radius * stride
    near = (center > torch.max(start, middle - reach)) & (
        center < torch.min(end, middle + reach)
    )
    farther = distances.amax(dim=-1)
    fits = (farther >= points.low.view(-1, 1)) & (farther <= points.high.view(-1, 1))
    lengths = (end - start).expand_as(near).masked_fill(~(near & fits), math.inf)
    shortest, chosen = lengths.min(dim=1)
    taken = shortest.isfinite().unsqueeze(1)
    equal = (lengths <= shortest.unsqueeze(1) + SAME_LENGTH) & taken
    classes = equal.to(segments.dtype) @ one_hot(labels, num_classes).to(segments.dtype)
    target = distances.gather(1, chosen.view(-1, 1, 1).expand(-1, 1, 2)).squeeze(1)
    return classes.clamp(max=1), torch.where(taken, target / stride, 0.0)
