"""Spheres of a data set of large clouds, spread evenly by potentials."""

from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from .cloud import SampledCloud, search_tree, voxel_sample

#: Edge of the voxels that potentials are kept for, and spread of the noise of a center,
#: over the radius.
RESOLUTION = 0.1


class Center(NamedTuple):
    """Where a sphere lies.

    Attributes:
        cloud: Number of the cloud.
        position: float64 [3], meters.
    """

    cloud: int
    position: np.ndarray


class SpherePotentials:
    """Draws centers of spheres where few spheres have been.

    Every place of a coarse grid of points has a potential, at first U(0, 1)·1e-3. The
    place of the lowest one, moved by N(0, r/10) along each axis, becomes the next
    center c, and all places within r of it get

        (1 − |p − c|² / r²)²

    Args:
        clouds: The clouds.
        radius: r, meters.

    Source: KPConv (ICCV 2019), which keeps potentials on such a grid too; openpoints
    keeps them on all points.
    """

    def __init__(self, clouds: Sequence[SampledCloud], radius: float) -> None:
        self.radius = radius
        generator = np.random.default_rng(0)
        self.places: List[np.ndarray] = []
        for cloud in clouds:
            kept = voxel_sample(cloud.positions, radius * RESOLUTION, generator)
            self.places.append(cloud.positions[kept].astype(np.float64))
        self.trees = [search_tree(places) for places in self.places]

    def draw(self, count: int, generator: np.random.Generator) -> List[Center]:
        """Centers of ``count`` spheres, in the order in which they were chosen."""
        potentials = [generator.random(len(p)) * 1e-3 for p in self.places]
        lowest = np.array([potential.min() for potential in potentials])
        centers: List[Center] = []
        for _ in range(count):
            cloud = int(lowest.argmin())
            potential, places = potentials[cloud], self.places[cloud]
            noise = generator.normal(0, self.radius * RESOLUTION, 3)
            center = places[potential.argmin()] + noise
            near = self.trees[cloud].query_ball_point(center, self.radius)
            squares = ((places[near] - center) ** 2).sum(axis=1) / self.radius**2
            potential[near] += (1 - squares) ** 2
            lowest[cloud] = potential.min()
            centers.append(Center(cloud, center))
        return centers


def sphere_points(
    cloud: SampledCloud,
    center: np.ndarray,
    radius: float,
    count: int,
    generator: np.random.Generator,
) -> Dict[str, np.ndarray]:
    """Choose the points of a sphere, always the same number of them, in random order.

    The nearest ``count`` are taken where there are more; where there are fewer, random
    ones are repeated.

    Args:
        cloud: The cloud.
        center: Of the sphere, [3], meters.
        radius: Of the sphere, meters.
        count: Points wanted.
        generator: Draws repetitions and order.

    Returns:
        ``indices`` int64 [count] and ``valid`` bool [count], False of repetitions.

    Raises:
        ValueError: If no point lies in the sphere.
    """
    near = np.asarray(cloud.tree.query_ball_point(center, radius), dtype=np.int64)
    if not len(near):
        raise ValueError(
            f'no point of {cloud.name} lies within {radius} m of '
            f'{np.round(center, 2).tolist()}; give a larger radius'
        )
    if len(near) > count:
        squares = ((cloud.positions[near] - center) ** 2).sum(axis=1)
        # By index where distances are equal.
        near = near[np.lexsort((near, squares))[:count]]
    missing = count - len(near)
    repeated = generator.choice(np.sort(near), missing)
    indices = np.concatenate([np.sort(near), repeated])
    valid = np.arange(count) < count - missing
    order = generator.permutation(count)
    return dict(indices=indices[order], valid=valid[order])
