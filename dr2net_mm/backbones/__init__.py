"""Backbones, registered in MMEngine's root registry under ``Dr2*`` names.

Each needs the library whose class it extends, which is imported when the backbone is
first built or imported from here.
"""

from typing import TYPE_CHECKING

from mmengine.registry import MODELS

from dr2net_mm.lazy_classes import LazyClasses

from .base.dual_residual import (
    DualResidualBackbone,
    DualResidualState,
    dual_residual_backbones,
)
from .necks import SimpleFeaturePyramid

if TYPE_CHECKING:
    from .mvit.mvit import Dr2MViT  # noqa: F401
    from .rev.rev_mvit import RevMViT  # noqa: F401
    from .rev.rev_vit import RevVisionTransformer  # noqa: F401
    from .rev.twins import (  # noqa: F401
        ConventionalMViT,
        ConventionalVisionTransformer,
    )
    from .swin.conventional3d import ConventionalSwinTransformer3D  # noqa: F401
    from .swin.swin import Dr2SwinTransformer  # noqa: F401
    from .swin.swin3d import Dr2SwinTransformer3D  # noqa: F401
    from .timm.backbone import Dr2TimmBackbone  # noqa: F401
    from .timm.conventional import ConventionalTimmBackbone  # noqa: F401
    from .vit.frozen_vit import FrozenVisionTransformer  # noqa: F401
    from .vit.vit import Dr2VisionTransformer  # noqa: F401

_classes = LazyClasses(
    MODELS,
    __name__,
    {
        'ConventionalMViT': ('rev.twins', 'mmcv.cnn'),
        'ConventionalSwinTransformer3D': ('swin.conventional3d', 'mmaction.models'),
        'ConventionalTimmBackbone': ('timm.conventional', 'timm.models'),
        'ConventionalVisionTransformer': ('rev.twins', 'mmcv.cnn'),
        'Dr2MViT': ('mvit.mvit', 'mmaction.models'),
        'Dr2SwinTransformer': ('swin.swin', 'mmdet.models'),
        'Dr2SwinTransformer3D': ('swin.swin3d', 'mmaction.models'),
        'Dr2TimmBackbone': ('timm.backbone', 'timm.models'),
        'Dr2VisionTransformer': ('vit.vit', 'mmaction.models'),
        'FrozenVisionTransformer': ('vit.frozen_vit', 'mmaction.models'),
        'RevMViT': ('rev.rev_mvit', 'mmcv.cnn'),
        'RevVisionTransformer': ('rev.rev_vit', 'mmcv.cnn'),
    },
)
__getattr__ = _classes.load

__all__ = [
    'DualResidualBackbone',
    'DualResidualState',
    'SimpleFeaturePyramid',
    'dual_residual_backbones',
    *_classes.installed(),
]
