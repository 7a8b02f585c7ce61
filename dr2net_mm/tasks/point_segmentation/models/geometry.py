"""What a network needs to know of the positions of its points, computed once."""

from typing import List, NamedTuple, Sequence

import torch
from torch import Tensor

from .operators import (
    farthest_points,
    gather_points,
    interpolation_weights,
    nearest_points,
)


class Level(NamedTuple):
    """A cloud that is a part of the one before it.

    Attributes:
        positions: Its points [B, M, 3].
        centers: Their indices in the cloud before, int64 [B, M].
        neighbors: Indices of their nearest points in the cloud before, [B, M, K].
        back: Indices in this level, [B, N, 3], of the neighbors of every point of the
            cloud before, for interpolation.
        weights: Their weights, [B, N, 3].
    """

    positions: Tensor
    centers: Tensor
    neighbors: Tensor
    back: Tensor
    weights: Tensor


class PointGeometry(NamedTuple):
    """Nested clouds and how their points lie.

    Attributes:
        positions: The points that the network was given, [B, N, 3].
        levels: Ever smaller parts of them.
    """

    positions: Tensor
    levels: List[Level]


@torch.no_grad()
def point_geometry(
    positions: Tensor, ratios: Sequence[int], neighbors: int
) -> PointGeometry:
    """Sample nested clouds, and search neighbors within and between them.

    Nothing of it is differentiable; it is computed once for a batch, outside of the
    reversible streams and of what is recomputed.

    Args:
        positions: [B, N, 3].
        ratios: By how many the number of points is divided for each level; rests are
            cut off.
        neighbors: Nearest points K of each center.

    Raises:
        ValueError: If there are too few points for a level or for its neighbors.
    """
    needed = fewest_points(ratios, neighbors)
    if positions.dim() == 3 and positions.shape[1] < needed:
        raise ValueError(
            f'clouds of {positions.shape[1]} points were given; the network samples '
            f'them by {list(ratios)} and looks at {neighbors} neighbors, which needs '
            f'{needed} or more. Pad the clouds (num_points of the data set), or set '
            'fewer neighbors.'
        )
    levels: List[Level] = []
    finer = positions
    for ratio in ratios:
        centers = farthest_points(finer, finer.shape[1] // ratio)
        sampled = gather_points(finer, centers)
        found, _ = nearest_points(sampled, finer, neighbors)
        back, weights = interpolation_weights(finer, sampled)
        levels.append(Level(sampled, centers, found, back, weights))
        finer = sampled
    return PointGeometry(positions, levels)


def fewest_points(ratios: Sequence[int], neighbors: int) -> int:
    """Fewest points of a cloud that has points and neighbors on every level."""
    needed = 1
    for ratio in reversed(ratios):
        needed = max(needed * ratio, neighbors)
    return needed
