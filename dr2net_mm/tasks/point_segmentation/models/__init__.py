"""Networks for point clouds, registered in MMEngine's root registry."""

from typing import TYPE_CHECKING

from mmengine.registry import MODELS

from dr2net_mm.lazy_classes import LazyClasses

from .decoder import PointDecoder
from .head import PointSegmentationHead
from .pix4point import Pix4Point
from .preprocessor import PointDataPreprocessor

if TYPE_CHECKING:
    from .dual_residual_encoder import Dr2PointViT  # noqa: F401
    from .encoder import PointViT  # noqa: F401

_classes = LazyClasses(
    MODELS,
    __name__,
    {
        'Dr2PointViT': ('dual_residual_encoder', 'timm.models'),
        'PointViT': ('encoder', 'timm.models'),
    },
)
__getattr__ = _classes.load

__all__ = [
    'Pix4Point',
    'PointDataPreprocessor',
    'PointDecoder',
    'PointSegmentationHead',
    *_classes.installed(),
]
