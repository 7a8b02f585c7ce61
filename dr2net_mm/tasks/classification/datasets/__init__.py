"""Data sets and pipelines of image classification."""

from dr2net_mm.optional_imports import usable

from .classification_dataset import ClassificationDataset

__all__ = ['ClassificationDataset']

if usable('mmcv.transforms'):
    from .pack_classification import PackClassificationInputs  # noqa: F401

    __all__ += ['PackClassificationInputs']
