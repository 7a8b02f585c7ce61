"""timm's models by name, made for the inputs that are asked for."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import nn

from dr2net_mm.cli.run_tool import describe
from dr2net_mm.errors import UserError
from dr2net_mm.optional_imports import import_failures, usable

#: In front of timm's name of a model on a command line.
PREFIX = 'timm:'

_TYPES = ('Dr2TimmBackbone', 'ConventionalTimmBackbone')


def is_timm(backbone: Dict[str, Any]) -> bool:
    """Return whether the arguments are those of a timm model, of either class."""
    return backbone.get('type') in _TYPES


def timm_backbone(name: str) -> Dict[str, Any]:
    """Return the arguments of a timm model with random weights.

    BatchNorm layers are in evaluation mode, where there are any.

    Args:
        name: ``timm:`` and timm's name of the model.

    Raises:
        UserError: If timm cannot be imported, or has no such model.
    """
    if not usable('timm.models'):
        raise UserError(
            f'backbone {name!r} needs timm, which cannot be imported '
            f'({import_failures()["timm.models"]}); pip install timm'
        )
    from dr2net_mm.backbones.timm.model import check_name

    model = name[len(PREFIX) :]
    try:
        check_name(model)
    except ValueError as error:
        raise UserError(f'backbone {name!r}: {error}') from error
    return dict(type=_TYPES[0], model_name=model, norm_eval=True)


def own_size(backbone: Dict[str, Any]) -> Tuple[int, int]:
    """Return the height and width of the images that a timm model is built for.

    Raises:
        UserError: If the model cannot be built.
    """
    return _build(backbone).example_size()[1:]


def block_counts(backbone: Dict[str, Any]) -> List[int]:
    """Count the residual blocks of each list that a timm model has."""
    family = _build(backbone).family
    lists = family.checkpointed_blocks()
    return [len(family.model.get_submodule(name)) for name in lists]


def fitted(
    backbone: Dict[str, Any], sizes: Sequence[Tuple[int, ...]]
) -> Dict[str, Any]:
    """Return the arguments with which a timm model takes images of some sizes.

    Args:
        backbone: Arguments of the model.
        sizes: Heights and widths.

    Returns:
        The arguments, with ``img_size`` for a single size, or ``dynamic_img_size`` or
        ``strict_img_size`` for several, if the model needs one of them.

    Raises:
        UserError: If it does not take them, with the model's own words.
    """
    changes: List[Dict[str, Any]] = [{}]
    if len(set(sizes)) == 1:
        changes.append(dict(img_size=tuple(sizes[0])))
    changes += [dict(dynamic_img_size=True), dict(strict_img_size=False)]
    refusal: Optional[UserError] = None
    for change in changes:
        made = dict(backbone, **change)
        try:
            model = _build(made)
        except UserError as error:
            # Only a model that has the argument can refuse its value.
            refusal = refusal or error
            continue
        try:
            for size in sizes:
                model.family.check_size(tuple(size))
        except ValueError as error:
            refusal = refusal or UserError(' '.join(str(error).split()))
            continue
        return made
    assert refusal is not None  # there is at least one change
    raise refusal


def _build(backbone: Dict[str, Any]) -> nn.Module:
    """Build the dual-residual backbone of a timm model."""
    from mmengine.registry import MODELS

    arguments = {
        key: value
        for key, value in backbone.items()
        if key not in ('dual_residual', 'with_cp')
    }
    try:
        with torch.random.fork_rng():
            return MODELS.build(dict(arguments, type=_TYPES[0]))
    except Exception as error:
        reason = describe(error)
        if reason is None:
            raise
        raise UserError(reason) from error
