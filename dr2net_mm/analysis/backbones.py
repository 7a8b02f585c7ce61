"""The backbones that the analysis tools know by name or take from a config."""

from typing import Any, Dict, Optional, Sequence

from dr2net_mm.utils.config_checks import load_config
from dr2net_mm.utils.errors import UserError, describe

BACKBONES: Dict[str, Dict[str, Any]] = {
    'swin-t': dict(
        embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7
    ),
    'swin-s': dict(
        embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), window_size=7
    ),
    'swin-b': dict(
        embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window_size=7
    ),
    'swin-l': dict(
        embed_dims=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), window_size=12
    ),
}
"""Arguments of mmdet's `SwinTransformer`; Swin-L as DINO uses it (384 pretraining)."""

REVERSIBLE_TYPES = {'SwinTransformer': 'Dr2SwinTransformer'}
"""Conventional class of mmdet -> our subclass of it."""

_WEIGHT_SOURCES = ('init_cfg', 'pretrained', 'convert_weights')


def named_backbone(
    name: str, depths: Optional[Sequence[int]] = None, width: Optional[int] = None
) -> Dict[str, Any]:
    """Arguments of a named backbone, conventional class.

    Args:
        name: one of :data:`BACKBONES`.
        depths: blocks of each stage, in place of the backbone's own.
        width: channels of the first stage, in place of the backbone's own; must be
            a multiple of its number of heads.

    Raises:
        UserError: if the name is unknown, or depths or width do not fit.
    """
    if name not in BACKBONES:
        raise UserError(
            f'backbone {name!r} is unknown; accepted: {", ".join(BACKBONES)}'
        )
    backbone = dict(BACKBONES[name], type='SwinTransformer')
    if depths is not None:
        stages = len(backbone['depths'])
        if len(depths) != stages or min(depths) < 1:
            raise UserError(
                f'depths {tuple(depths)} do not fit {name}; give {stages} positive '
                f'numbers, such as {" ".join(map(str, backbone["depths"]))}'
            )
        backbone['depths'] = tuple(depths)
    if width is not None:
        heads = backbone['num_heads'][0]
        if width < 1 or width % heads:
            raise UserError(
                f'width {width} does not fit {name}; give a positive multiple of its '
                f'{heads} heads, such as {backbone["embed_dims"]}'
            )
        backbone['embed_dims'] = width
    return backbone


def packaged_config(path: str):
    from mmengine.hub import get_config

    try:
        return get_config(path)
    except Exception as error:  # a config is code and may raise anything
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise UserError(f'config {path!r} cannot be read: {reason}') from error


def config_backbone(path: str) -> Dict[str, Any]:
    """`model.backbone` of a config file, without its source of weights.

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
            f'config {path!r} has no model.backbone; give the config of a detector, '
            f'or --backbone with one of {", ".join(BACKBONES)}'
        )
    backbone = backbone.to_dict()
    for name in _WEIGHT_SOURCES:
        backbone.pop(name, None)
    conventional_backbone(backbone)
    return backbone


def _accepted_types() -> Dict[str, str]:
    ours = {reversible: plain for plain, reversible in REVERSIBLE_TYPES.items()}
    return {**{plain: plain for plain in REVERSIBLE_TYPES}, **ours}


def conventional_backbone(backbone: Dict[str, Any], **changes: Any) -> Dict[str, Any]:
    """The same backbone as mmdet's own class.

    Raises:
        UserError: if the type is neither a known class of mmdet nor ours.
    """
    name = backbone.get('type')
    plain = _accepted_types().get(str(name).split('.')[-1])
    if plain is None:
        raise UserError(
            f'backbone type {name!r} cannot be analysed; accepted: '
            f'{", ".join(_accepted_types())}'
        )
    result = {key: value for key, value in backbone.items() if key != 'dual_residual'}
    result.update(type=f'mmdet.{plain}', with_cp=False)
    result.update(changes)
    return result


def reversible_backbone(
    backbone: Dict[str, Any], **dual_residual: Any
) -> Dict[str, Any]:
    """The same backbone as our class.

    Args:
        backbone: arguments of either class; its own `dual_residual` is the base.
        dual_residual: options that replace those of the base, unless None.
    """
    plain = conventional_backbone(backbone)
    options = dict(backbone.get('dual_residual') or {})
    options.update(
        {key: value for key, value in dual_residual.items() if value is not None}
    )
    ours = REVERSIBLE_TYPES[plain['type'].split('.')[-1]]
    return dict(plain, type=ours, dual_residual=options)


def build_backbone(backbone: Dict[str, Any]):
    """Build a backbone from its arguments, in training mode, untouched weights.

    Raises:
        UserError: if its class refuses the arguments.
    """
    from mmengine.registry import MODELS

    import dr2net_mm  # noqa: F401 - registers our classes

    try:
        model = MODELS.build(dict(backbone))
    except Exception as error:
        reason = describe(error)
        if reason is None:
            raise
        raise UserError(reason) from error
    model.train()
    return model
