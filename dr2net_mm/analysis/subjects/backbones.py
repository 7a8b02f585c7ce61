"""The backbones that the analysis tools know by name or take from a config."""

from typing import Any, Dict, List, Optional, Sequence, Type

from mmengine.config import Config
from mmengine.registry import MODELS

from dr2net_mm.backbones import DualResidualBackbone
from dr2net_mm.backbones.base.registered import (
    class_name,
    declaring_backbone,
    registered_backbones,
)
from dr2net_mm.cli.run_tool import describe
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.memory.activation_checkpoint import checkpoint_modules

from .timm_models import PREFIX, block_counts, is_timm, timm_backbone


def _swin(width: int, deep: int, heads: int, window: int = 7) -> Dict[str, Any]:
    return dict(
        type='SwinTransformer',
        embed_dims=width,
        depths=(2, 2, deep, 2),
        num_heads=(heads, 2 * heads, 4 * heads, 8 * heads),
        window_size=window,
    )


def _video_swin(width: int, deep: int, heads: int) -> Dict[str, Any]:
    arch = _swin(width, deep, heads)
    return dict(
        type='SwinTransformer3D',
        arch={key: arch[key] for key in ('embed_dims', 'depths', 'num_heads')},
        window_size=(8, 7, 7),
        pretrained2d=False,
    )


def _videomae(width: int, depth: int, heads: int) -> Dict[str, Any]:
    return dict(
        type='VisionTransformer', embed_dims=width, depth=depth, num_heads=heads
    )


BACKBONES: Dict[str, Dict[str, Any]] = {
    'swin-t': _swin(96, 6, 3),
    'swin-s': _swin(96, 18, 3),
    'swin-b': _swin(128, 18, 4),
    'swin-l': _swin(192, 18, 6, window=12),
    'video-swin-t': _video_swin(96, 6, 3),
    'video-swin-s': _video_swin(96, 18, 3),
    'video-swin-b': _video_swin(128, 18, 4),
    'video-swin-l': _video_swin(192, 18, 6),
    'videomae-s': _videomae(384, 12, 6),
    'videomae-b': _videomae(768, 12, 12),
    'videomae-l': _videomae(1024, 24, 16),
}
"""Arguments of conventional classes; Swin-L as DINO uses it (384 pretraining)."""

PUBLISHED_BACKBONES: Dict[str, Dict[str, Any]] = {
    'rev-vit-s': dict(type='ConventionalVisionTransformer', arch='deit-small'),
    'rev-vit-b': dict(type='ConventionalVisionTransformer', arch='deit-base'),
    'rev-vit-l': dict(type='ConventionalVisionTransformer', arch='large'),
    'rev-mvit-b': dict(type='ConventionalMViT', arch='image-base'),
    'mvit-t': dict(type='mmaction.MViT', arch='tiny'),
    'mvit-s': dict(type='mmaction.MViT', arch='small'),
    'mvit-b': dict(type='mmaction.MViT', arch='base'),
}
"""Published networks whose shape is fixed; of reversible ones, conventional twins."""

_WEIGHT_SOURCES = ('init_cfg', 'pretrained', 'convert_weights')


def depths_of(backbone: Dict[str, Any]) -> List[int]:
    """Return the blocks of each stage; by default those of the class.

    Raises:
        UserError: if the class does not say it.
    """
    if is_timm(backbone):
        return block_counts(backbone)
    try:
        return _declared(backbone).depths(backbone)
    except ValueError as error:
        raise UserError(str(error)) from error


def with_depths(backbone: Dict[str, Any], depths: Sequence[int]) -> Dict[str, Any]:
    """Return the same backbone with other numbers of blocks.

    Raises:
        UserError: if the class has no such argument.
    """
    try:
        return _declared(backbone).with_depths(backbone, depths)
    except ValueError as error:
        raise UserError(
            f'{error}: choose another model, or write a config with its own arguments'
        ) from error


def named_backbone(
    name: str, depths: Optional[Sequence[int]] = None, width: Optional[int] = None
) -> Dict[str, Any]:
    """Return the arguments of a named backbone, conventional class.

    Args:
        name: one of :data:`BACKBONES` or :data:`PUBLISHED_BACKBONES`, or ``timm:``
            and timm's name of a model.
        depths: blocks of each stage, in place of the backbone's own.
        width: channels of the first stage, in place of the backbone's own; must be
            a multiple of its number of heads.

    Raises:
        UserError: if the name is unknown, or depths or width do not fit.
    """
    if name.startswith(PREFIX):
        if depths is not None or width is not None:
            raise UserError(
                f'--depths and --width do not go with {name}; choose another model, or '
                'write a config with its own arguments'
            )
        return timm_backbone(name)
    if name in PUBLISHED_BACKBONES:
        if depths is not None or width is not None:
            raise UserError(
                f'{name} is a published network, which has no other depths or width; '
                'leave them out'
            )
        return dict(PUBLISHED_BACKBONES[name])
    if name not in BACKBONES:
        accepted = ', '.join((*BACKBONES, *PUBLISHED_BACKBONES))
        raise UserError(
            f'backbone {name!r} is unknown; accepted: {accepted}, and {PREFIX}NAME '
            'for a model of timm'
        )
    backbone = dict(BACKBONES[name])
    if depths is not None:
        own = depths_of(backbone)
        if len(depths) != len(own) or min(depths) < 1:
            raise UserError(
                f'depths {tuple(depths)} do not fit {name}; positive numbers for its '
                f'{len(own)} stages are needed, such as {" ".join(map(str, own))}'
            )
        backbone = with_depths(backbone, depths)
    if width is not None:
        # A Video Swin keeps its shape in an argument of its own.
        shape = dict(backbone.get('arch', backbone))
        heads = shape['num_heads']
        heads = heads if isinstance(heads, int) else heads[0]
        if width < 1 or width % heads:
            raise UserError(
                f'width {width} does not fit {name}; give a positive multiple of its '
                f'{heads} heads, such as {shape["embed_dims"]}'
            )
        shape['embed_dims'] = width
        backbone = dict(backbone, arch=shape) if 'arch' in backbone else shape
    return backbone


def input_frames(backbone: Dict[str, Any]) -> Optional[int]:
    """Return the default number of frames; None for a backbone of images."""
    frames = _declared(backbone).usual_frames
    return frames and backbone.get('num_frames', frames)


def with_frames(backbone: Dict[str, Any], frames: int) -> Dict[str, Any]:
    """Return the same backbone with position embeddings for a number of frames."""
    return _declared(backbone).with_frames(backbone, frames)


def packaged_config(path: str) -> Config:
    """Read a config of an installed package, such as ``mmdet::dino/….py``.

    Raises:
        UserError: If there is no such config, or it cannot be run.
    """
    from mmengine.hub import get_config

    try:
        return get_config(path)
    except Exception as error:  # a config is code and may raise anything
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise UserError(f'config {path!r} cannot be read: {reason}') from error


def config_backbone(path: str) -> Dict[str, Any]:
    """Read `model.backbone` of a config file, without its source of weights.

    Args:
        path: a config file, or `mmdet::…` for one of mmdet's own.

    Raises:
        UserError: if the file is missing, cannot be read, or holds no backbone of
            an accepted type.
    """
    config = packaged_config(path) if '::' in path else load_config(path)
    backbone = (config.get('model') or {}).get('backbone')
    if backbone is None:
        raise UserError(
            f'config {path!r} has no model.backbone; give a config that has one, '
            f'or --backbone with one of {", ".join(BACKBONES)}'
        )
    backbone = backbone.to_dict()
    for name in _WEIGHT_SOURCES:
        backbone.pop(name, None)
    conventional_backbone(backbone)
    return backbone


def _declared(backbone: Dict[str, Any]) -> Type[DualResidualBackbone]:
    """Return the dual-residual class of a backbone, whichever its arguments name.

    Raises:
        UserError: if the type is neither a dual-residual backbone nor the conventional
            twin of one.
    """
    found = declaring_backbone(class_name(backbone))
    if found is None or not hasattr(found, 'plain_class'):
        accepted = []
        for name, one in registered_backbones():
            if hasattr(one, 'plain_class'):
                accepted += [one.plain_class.split('.')[-1], name]
        raise UserError(
            f'backbone type {backbone.get("type")!r} cannot be analyzed; accepted: '
            f'{", ".join(accepted)}'
        )
    return found


def has_with_cp(backbone: Dict[str, Any]) -> bool:
    """Return whether the conventional class has an argument for checkpoints."""
    return not _declared(backbone).checkpointed_lists


def conventional_backbone(backbone: Dict[str, Any], **changes: Any) -> Dict[str, Any]:
    """Return the same backbone as the class of the MM stack, or as timm's model.

    Raises:
        UserError: if the type is neither a known class nor ours.
    """
    plain = _declared(backbone).plain_config(backbone)
    return {**plain, 'with_cp': False, **changes}


def reversible_backbone(
    backbone: Dict[str, Any], **dual_residual: Any
) -> Dict[str, Any]:
    """Return the same backbone as our class.

    Args:
        backbone: arguments of either class; its own `dual_residual` is the base.
        dual_residual: options that replace those of the base, unless None.
    """
    declared = _declared(backbone)
    arguments = declared.plain_config(backbone)
    arguments.pop('with_cp', None)
    options = dict(backbone.get('dual_residual') or {})
    options.update(
        {key: value for key, value in dual_residual.items() if value is not None}
    )
    return dict(arguments, type=declared.__name__, dual_residual=options)


def build_backbone(backbone: Dict[str, Any]):
    """Build a backbone from its arguments, in training mode, untouched weights.

    A class without ``with_cp`` has its blocks checkpointed where that is asked for.

    Raises:
        UserError: if its class refuses the arguments.
    """
    arguments = dict(backbone)
    declared = _declared(backbone)
    blocks = declared.checkpointed_lists
    if arguments['type'] == declared.__name__:
        blocks = ()
    checkpointed = blocks and arguments.pop('with_cp', False)
    try:
        model = MODELS.build(arguments)
    except Exception as error:
        reason = describe(error)
        if reason is None:
            raise
        raise UserError(reason) from error
    if checkpointed:
        checkpoint_modules(model, blocks)
    model.train()
    return model
