"""Transforms of data pipelines, registered in MMEngine's root registry."""

from typing import TYPE_CHECKING

from mmengine.registry import TRANSFORMS

from dr2net_mm.lazy_classes import LazyClasses

from .localization_labels import GenerateSegmentLabels
from .rand_augment import ClipRandAugment
from .resize_feature import ResizeFeature
from .sample_whole_video import SampleWholeVideo

if TYPE_CHECKING:
    from .decord_file_init import DecordFileInit  # noqa: F401
    from .pack_video_localization import PackVideoLocalizationInputs  # noqa: F401

_MMACTION = 'mmaction.datasets.transforms'
_classes = LazyClasses(
    TRANSFORMS,
    __name__,
    {
        'DecordFileInit': ('decord_file_init', _MMACTION),
        'PackVideoLocalizationInputs': ('pack_video_localization', _MMACTION),
    },
)
__getattr__ = _classes.load

__all__ = [
    'ClipRandAugment',
    'GenerateSegmentLabels',
    'ResizeFeature',
    'SampleWholeVideo',
    *_classes.installed(),
]
