"""Models of timm's classes whose published names fix depth and width.

They are registered with timm, as a user may register models of their own.
"""

import functools
from typing import Any, Callable

from timm.layers import GatedMlp, GroupNormAct, StdConv2d
from timm.models import register_model
from timm.models.focalnet import FocalNet
from timm.models.maxxvit import (
    MaxxVit,
    MaxxVitCfg,
    MaxxVitConvCfg,
    MaxxVitTransformerCfg,
)
from timm.models.metaformer import (
    Attention,
    GroupNorm1,
    LayerNorm2dNoBias,
    LayerNormNoBias,
    MetaFormer,
    Pooling,
    SepConv,
)
from timm.models.mlp_mixer import MlpMixer, ResBlock, SpatialGatingBlock
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.resnetv2 import ResNetV2
from torch import nn

DEPTHS = (1, 2, 2, 1)
WIDTHS = (16, 16, 32, 32)


def tiny(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Register a model that has no published weights."""

    @functools.wraps(make)
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        for name in ('pretrained_cfg', 'pretrained_cfg_overlay', 'cache_dir'):
            kwargs.pop(name, None)
        return make(**kwargs)

    return register_model(create)


def mixer(**kwargs: Any) -> MlpMixer:
    return MlpMixer(embed_dim=32, num_blocks=3, img_size=32, patch_size=8, **kwargs)


@tiny
def tiny_mixer(**kwargs: Any) -> nn.Module:
    return mixer(**kwargs)


@tiny
def tiny_resmlp(**kwargs: Any) -> nn.Module:
    return mixer(block_layer=ResBlock, mlp_ratio=4, **kwargs)


@tiny
def tiny_gmlp(**kwargs: Any) -> nn.Module:
    blocks = dict(block_layer=SpatialGatingBlock, mlp_layer=GatedMlp)
    return mixer(mlp_ratio=4, **blocks, **kwargs)


@tiny
def tiny_mvit(**kwargs: Any) -> nn.Module:
    cfg = MultiScaleVitCfg(depths=DEPTHS, embed_dim=16, num_heads=1)
    return MultiScaleVit(cfg, **kwargs)


@tiny
def tiny_pvt(**kwargs: Any) -> nn.Module:
    heads = (1, 1, 2, 2)
    return PyramidVisionTransformerV2(
        depths=DEPTHS, embed_dims=WIDTHS, num_heads=heads, **kwargs
    )


def maxxvit(*blocks: Any, **kwargs: Any) -> MaxxVit:
    cfg = MaxxVitCfg(
        embed_dim=WIDTHS,
        depths=DEPTHS,
        block_type=blocks,
        stem_width=16,
        conv_cfg=MaxxVitConvCfg(),
        transformer_cfg=MaxxVitTransformerCfg(dim_head=8, **kwargs.pop('attention')),
    )
    return MaxxVit(cfg, img_size=64, **kwargs)


@tiny
def tiny_maxvit(**kwargs: Any) -> nn.Module:
    return maxxvit('M', 'M', 'M', 'M', attention=dict(window_size=2), **kwargs)


@tiny
def tiny_coatnet(**kwargs: Any) -> nn.Module:
    return maxxvit('C', 'C', 'T', 'T', attention={}, **kwargs)


@tiny
def tiny_focalnet(**kwargs: Any) -> nn.Module:
    return FocalNet(depths=DEPTHS, embed_dim=16, use_post_norm=True, **kwargs)


@tiny
def tiny_poolformer(**kwargs: Any) -> nn.Module:
    return MetaFormer(
        depths=DEPTHS,
        dims=(16, 24, 32, 48),
        downsample_norm=None,
        token_mixers=Pooling,
        mlp_act=nn.GELU,
        norm_layers=GroupNorm1,
        layer_scale_init_values=1e-5,
        res_scale_init_values=None,
        use_mlp_head=False,
        **kwargs,
    )


@tiny
def tiny_caformer(**kwargs: Any) -> nn.Module:
    return MetaFormer(
        depths=DEPTHS,
        dims=(16, 24, 32, 64),
        token_mixers=[SepConv, SepConv, Attention, Attention],
        norm_layers=[LayerNorm2dNoBias] * 2 + [LayerNormNoBias] * 2,
        **kwargs,
    )


@tiny
def tiny_bit(**kwargs: Any) -> nn.Module:
    return ResNetV2(
        layers=DEPTHS,
        channels=(32, 32, 64, 64),
        stem_chs=16,
        stem_type='fixed',
        conv_layer=StdConv2d,
        norm_layer=lambda *args, **kw: GroupNormAct(*args, num_groups=4, **kw),
        **kwargs,
    )
