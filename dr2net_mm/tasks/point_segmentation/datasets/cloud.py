"""A labeled cloud of points and its part with one point a voxel."""

from functools import cached_property
from typing import Any, NamedTuple, Optional

import numpy as np

from dr2net_mm.errors import DataFileError

#: Label of points that no class is known of.
IGNORED = 255

#: Points whose neighbors are searched at a time.
_CHUNK = 1 << 20


class Cloud(NamedTuple):
    """Points as they were recorded.

    Attributes:
        name: What messages call it, such as ``Area_5``.
        positions: float32 [n, 3], meters; the smallest coordinate of each axis is 0.
        colors: uint8 [n, 3].
        labels: uint8 [n], the class, or 255 where none is known.
    """

    name: str
    positions: np.ndarray
    colors: np.ndarray
    labels: np.ndarray


def check_cloud(cloud: Cloud, source: str) -> None:
    """Raise unless a cloud has points, and all of them finite.

    Raises:
        DataFileError: Naming the file and the first point that is not finite.
    """
    if not len(cloud.positions):
        raise DataFileError(f'{source} holds no points; leave it out')
    finite = np.isfinite(cloud.positions).all(axis=1)
    if not finite.all():
        point = int(np.argmin(finite))
        raise DataFileError(
            f'{source}: point {point} has the coordinates '
            f'{cloud.positions[point].tolist()}; remove the {int((~finite).sum())} '
            'points that are not finite'
        )


def voxel_sample(
    positions: np.ndarray, size: float, generator: np.random.Generator
) -> np.ndarray:
    """Choose a random point of every voxel that has any.

    Args:
        positions: [n, 3], meters, none of them negative.
        size: Edge of a voxel, meters.
        generator: Draws the points.

    Returns:
        Their indices in order, int64 [m].

    Raises:
        ValueError: If there are more voxels than 64 bits can number.
    """
    voxels = np.floor(positions.astype(np.float64) / size).astype(np.int64)
    counts = [int(axis) + 1 for axis in voxels.max(axis=0)]
    if counts[0] * counts[1] * counts[2] >= 2**63:
        raise ValueError(
            f'voxels of {size} m are too small for a cloud of '
            f'{positions.max(axis=0).tolist()} m; give larger ones'
        )
    keys = (voxels[:, 0] * counts[1] + voxels[:, 1]) * counts[2] + voxels[:, 2]
    order = generator.permutation(len(keys))
    # The first of each voxel in a random order is a random one.
    _, first = np.unique(keys[order], return_index=True)
    return np.sort(order[first])


class SampledCloud:
    """The part of a cloud that a network sees: one random point a voxel.

    Args:
        cloud: The whole cloud.
        voxel_size: Edge of a voxel, meters.
        generator: Draws the points.
        keep_whole: Whether the whole cloud is kept, to evaluate on it.
    """

    def __init__(
        self,
        cloud: Cloud,
        voxel_size: float,
        generator: np.random.Generator,
        keep_whole: bool = False,
    ) -> None:
        self.name = cloud.name
        kept = voxel_sample(cloud.positions, voxel_size, generator)
        self.positions = cloud.positions[kept]
        self.colors = cloud.colors[kept]
        self.labels = cloud.labels[kept]
        self.whole: Optional[Cloud] = cloud if keep_whole else None

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def tree(self) -> Any:
        """Search tree of the positions."""
        return search_tree(self.positions)

    @cached_property
    def projection(self) -> np.ndarray:
        """For every point of the whole cloud the nearest one here, int64 [n]."""
        assert self.whole is not None, 'the whole cloud was not kept'
        return nearest(self.tree, self.whole.positions)


def search_tree(positions: np.ndarray) -> Any:
    """Build a k-d tree of positions [n, 3]."""
    from scipy.spatial import cKDTree

    return cKDTree(positions)


def nearest(tree: Any, positions: np.ndarray) -> np.ndarray:
    """Index in a tree of the point nearest to each position, int64 [n]."""
    starts = range(0, len(positions), _CHUNK)
    parts = [tree.query(positions[i : i + _CHUNK], workers=-1)[1] for i in starts]
    return np.concatenate(parts).astype(np.int64)
