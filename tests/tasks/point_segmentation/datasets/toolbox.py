"""Small areas in S3DIS's format, and clouds."""

from pathlib import Path
from typing import Any

import numpy as np

from dr2net_mm.tasks.point_segmentation.datasets.cloud import Cloud, SampledCloud
from dr2net_mm.tasks.point_segmentation.datasets.sphere_dataset import SphereDataset


def write_object(room: Path, name: str, rows) -> Path:
    path = room / 'Annotations' / f'{name}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    text = rows
    if not isinstance(rows, (str, bytes)):
        text = '\n'.join(' '.join(map(str, row)) for row in rows) + '\n'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def random_cloud(points: int = 3000, size: float = 3.0, seed: int = 0) -> Cloud:
    generator = np.random.default_rng(seed)
    positions = generator.random((points, 3)) * size
    positions -= positions.min(axis=0)
    return Cloud(
        f'cloud {seed}',
        positions.astype(np.float32),
        generator.integers(0, 256, (points, 3), dtype=np.uint8),
        generator.integers(0, 3, points, dtype=np.uint8),
    )


class RandomClouds(SphereDataset):
    CLASSES = ('a', 'b', 'c')

    def load_clouds(self):
        return [random_cloud(seed=seed) for seed in (0, 1)]


def random_clouds(**changes: Any) -> RandomClouds:
    arguments = dict(voxel_size=0.15, radius=0.8, num_points=128, spheres_per_epoch=12)
    return RandomClouds(**{**arguments, **changes})


def sampled(cloud: Cloud, size: float = 0.2, whole: bool = True) -> SampledCloud:
    return SampledCloud(cloud, size, np.random.default_rng(0), whole)
