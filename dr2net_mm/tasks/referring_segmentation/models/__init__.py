"""Referring video object segmentation models, in MMEngine's root registry."""

from typing import TYPE_CHECKING

from mmengine.registry import MODELS

from dr2net_mm.lazy_classes import LazyClasses

from .data_preprocessor import ReferringVideoPreprocessor

if TYPE_CHECKING:
    from .mttr import MTTR  # noqa: F401
    from .text_encoder import RobertaTextEncoder  # noqa: F401

_classes = LazyClasses(
    MODELS,
    __name__,
    {
        'MTTR': ('mttr', 'mmdet.models'),
        'RobertaTextEncoder': ('text_encoder', 'transformers'),
    },
)
__getattr__ = _classes.load

__all__ = ['ReferringVideoPreprocessor', *_classes.installed()]
