"""Data sets of spheres cut from large labeled clouds."""

from functools import cached_property, lru_cache
from typing import Any, Dict, List, Sequence

import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import Dataset

from .cloud import Cloud, SampledCloud, check_cloud
from .spheres import Center, SpherePotentials, sphere_points

#: Keys of random numbers: of voxels, of an epoch's centers, of a sphere.
VOXELS, CENTERS, SPHERE = range(3)


class SharedClouds(tuple):
    """The clouds of a data set, which its metric reads and nobody copies."""

    def __deepcopy__(self, memo: dict) -> 'SharedClouds':
        return self


class SphereDataset(Dataset):
    """Spheres of clouds, cut anew for every epoch.

    A subclass reads the clouds (:meth:`load_clouds`). Each is reduced to one random
    point a voxel. Index i + e·length is sphere i of epoch e, so that a sampler which
    counts epochs (``SphereSampler``) gives every epoch its own spheres; all of them
    follow from ``seed``, in any order and in any process.

    A sample begins as ``points`` float32 [N, 3], relative to the center of its sphere;
    ``colors`` float32 [N, 3], 0 to 255; ``heights`` float32 [N, 1] above the lowest
    point of the cloud; ``labels`` int64 [N], 255 where none is known; ``indices`` and
    ``valid``, see :class:`~dr2net_mm.tasks.point_segmentation.structures.PointSample`;
    ``cloud`` and ``center``. Lengths are in meters.

    Args:
        pipeline: Transforms.
        voxel_size: Edge of a voxel.
        radius: Radius of a sphere.
        num_points: Points N of a sphere; nearest ones, or repeated ones.
        spheres_per_epoch: Length of the data set.
        seed: Of everything that is drawn here.
        test_mode: Whether the whole clouds are kept, for a metric.

    Raises:
        DataFileError: If a file cannot be used.
        ValueError: If a number is out of range.
    """

    CLASSES: Sequence[str] = ()

    def __init__(
        self,
        pipeline: Sequence[Any] = (),
        voxel_size: float = 0.04,
        radius: float = 2.0,
        num_points: int = 16384,
        spheres_per_epoch: int = 2000,
        seed: int = 0,
        test_mode: bool = False,
    ) -> None:
        for name, value in (
            ('voxel_size', voxel_size),
            ('radius', radius),
            ('num_points', num_points),
            ('spheres_per_epoch', spheres_per_epoch),
        ):
            if not value > 0:
                raise ValueError(f'{name} is {value}; give a number above 0')
        self.pipeline = Compose(pipeline)
        self.voxel_size, self.radius = voxel_size, radius
        self.num_points, self.spheres_per_epoch = num_points, spheres_per_epoch
        self.seed, self.test_mode = seed, test_mode
        self._centers = lru_cache(maxsize=2)(self._draw_centers)

    def load_clouds(self) -> List[Cloud]:
        """Read the whole clouds."""
        raise NotImplementedError

    def full_init(self) -> None:
        """Read the clouds now; otherwise the first access does."""
        _ = self.clouds

    @cached_property
    def clouds(self) -> SharedClouds:
        """The clouds with one point a voxel."""
        clouds = []
        for i, cloud in enumerate(self.load_clouds()):
            check_cloud(cloud, cloud.name)
            generator = np.random.default_rng((self.seed, VOXELS, i))
            clouds.append(
                SampledCloud(cloud, self.voxel_size, generator, self.test_mode)
            )
        shown = ', '.join(f'{c.name} ({len(c):,} points)' for c in clouds[:8])
        print_log(
            f'{type(self).__name__}: {len(clouds)} clouds at {self.voxel_size:g} m: '
            f'{shown}{", ..." if len(clouds) > 8 else ""}',
            'current',
        )
        return SharedClouds(clouds)

    @property
    def metainfo(self) -> Dict[str, Any]:
        """``classes``, and in test mode ``clouds``, which the metric evaluates on."""
        info: Dict[str, Any] = dict(classes=tuple(self.CLASSES))
        if self.test_mode:
            info['clouds'] = self.clouds
        return info

    def __len__(self) -> int:
        return self.spheres_per_epoch

    def __getitem__(self, index: int) -> Any:
        return self.pipeline(self.sphere(index))

    def sphere(self, index: int) -> Dict[str, Any]:
        """Return a sample before the pipeline."""
        epoch, number = divmod(index, len(self))
        center = self._centers(epoch)[number]
        cloud = self.clouds[center.cloud]
        generator = np.random.default_rng((self.seed, SPHERE, epoch, number))
        chosen = sphere_points(
            cloud, center.position, self.radius, self.num_points, generator
        )
        indices = chosen['indices']
        positions = cloud.positions[indices]
        return dict(
            points=(positions - center.position).astype(np.float32),
            colors=cloud.colors[indices].astype(np.float32),
            heights=positions[:, 2:].copy(),
            labels=cloud.labels[indices].astype(np.int64),
            cloud=center.cloud,
            center=center.position,
            **chosen,
        )

    @cached_property
    def _potentials(self) -> SpherePotentials:
        return SpherePotentials(self.clouds, self.radius)

    def _draw_centers(self, epoch: int) -> List[Center]:
        generator = np.random.default_rng((self.seed, CENTERS, epoch))
        return self._potentials.draw(len(self), generator)

    def __getstate__(self) -> Dict[str, Any]:
        state = dict(self.__dict__)
        # Caches of functions cannot be sent to a process.
        del state['_centers']
        return state

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._centers = lru_cache(maxsize=2)(self._draw_centers)
