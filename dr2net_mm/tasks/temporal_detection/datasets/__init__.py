"""Data sets in MMEngine's root registry, and conversion to what they read."""

from dr2net_mm.optional_imports import usable

from .video_localization import VideoLocalizationDataset

__all__ = ['VideoLocalizationDataset']

if usable('mmcv.transforms'):
    from . import transforms  # noqa: F401

    __all__ += ['transforms']
