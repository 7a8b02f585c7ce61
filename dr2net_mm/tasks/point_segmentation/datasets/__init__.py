"""Spheres of labeled clouds, registered in MMEngine's root registry."""

from . import transforms
from .las import LasDataset
from .s3dis import S3DISDataset
from .sphere_dataset import SphereDataset
from .sphere_sampler import SphereSampler

__all__ = [
    'LasDataset',
    'S3DISDataset',
    'SphereDataset',
    'SphereSampler',
    'transforms',
]
