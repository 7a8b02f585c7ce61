"""A sampler that gives every epoch its own spheres."""

from typing import Iterator

from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SphereSampler(DefaultSampler):
    """``DefaultSampler`` whose indices go on from epoch to epoch.

    Epoch e has the indices e·length … (e + 1)·length − 1 of a
    :class:`~.sphere_dataset.SphereDataset`, in the order of ``DefaultSampler``. The
    number of the epoch is set by MMEngine's ``DistSamplerSeedHook``, which every runner
    has, also when a run is resumed.
    """

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * len(self.dataset)
        return (first + index for index in super().__iter__())
