"""Transforms of data pipelines, registered in MMEngine's root registry."""

from dr2net_mm.optional_imports import usable

from .localization_labels import GenerateSegmentLabels
from .rand_augment import ClipRandAugment
from .resize_feature import ResizeFeature
from .sample_whole_video import SampleWholeVideo

__all__ = [
    'ClipRandAugment',
    'GenerateSegmentLabels',
    'ResizeFeature',
    'SampleWholeVideo',
]

if usable('mmaction.datasets.transforms'):
    from .decord_file_init import DecordFileInit  # noqa: F401
    from .pack_video_localization import PackVideoLocalizationInputs  # noqa: F401

    __all__ += ['DecordFileInit', 'PackVideoLocalizationInputs']
