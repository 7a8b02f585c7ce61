"""Backbones, registered in MMEngine's root registry under ``Dr2*`` names.

Each needs the library whose class it extends; one that is not installed leaves out
its backbones and nothing else.
"""

from dr2net_mm.optional_imports import usable

from .base.dual_residual import (
    DualResidualBackbone,
    DualResidualState,
    dual_residual_backbones,
)
from .necks import SimpleFeaturePyramid

__all__ = [
    'DualResidualBackbone',
    'DualResidualState',
    'SimpleFeaturePyramid',
    'dual_residual_backbones',
]

if usable('mmdet.models'):
    from .swin.swin import Dr2SwinTransformer  # noqa: F401

    __all__ += ['Dr2SwinTransformer']

if usable('mmaction.models'):
    from .mvit.mvit import Dr2MViT  # noqa: F401
    from .swin.swin3d import Dr2SwinTransformer3D  # noqa: F401
    from .vit.frozen_vit import FrozenVisionTransformer  # noqa: F401
    from .vit.vit import Dr2VisionTransformer  # noqa: F401

    __all__ += [
        'Dr2MViT',
        'Dr2SwinTransformer3D',
        'Dr2VisionTransformer',
        'FrozenVisionTransformer',
    ]

if usable('mmcv.cnn'):
    from .rev.rev_mvit import RevMViT  # noqa: F401
    from .rev.rev_vit import RevVisionTransformer  # noqa: F401

    __all__ += ['RevMViT', 'RevVisionTransformer']

if usable('timm.models'):
    from .timm.backbone import Dr2TimmBackbone  # noqa: F401
    from .timm.conventional import ConventionalTimmBackbone  # noqa: F401

    __all__ += ['ConventionalTimmBackbone', 'Dr2TimmBackbone']
