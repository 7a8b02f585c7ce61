"""Data sets of referring video object segmentation, in MMEngine's root registry."""

from dr2net_mm.optional_imports import usable

from .a2d_sentences import A2DSentencesDataset
from .jhmdb_sentences import JHMDBSentencesDataset
from .ref_youtube_vos import RefYouTubeVOSDataset

__all__ = ['A2DSentencesDataset', 'JHMDBSentencesDataset', 'RefYouTubeVOSDataset']

if usable('mmcv.transforms'):
    from . import transforms  # noqa: F401

    __all__ += ['transforms']
