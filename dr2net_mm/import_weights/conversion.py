"""Result of a converter, and the steps that converters share."""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from dr2net_mm.errors import UserError

from .vit_layout import FC_NORM, NORM, VitLayout

Weights = Dict[str, Tensor]

#: Where the norm layer behind the last block goes.
FINAL_NORMS = ('fresh', FC_NORM, NORM)

_SHOWN = 4


class Conversion(NamedTuple):
    """Renamed weights, and what a reader should know about them.

    Attributes:
        weights: Tensors by their new names.
        backbone: Arguments of the ``VisionTransformer`` that they fit; empty where
            the target is no mmaction model. The number of heads is not in the weights.
        notes: What was dropped, added or changed, a sentence each.
    """

    weights: Weights
    backbone: Dict[str, Any]
    notes: List[str]


def some_of(names: Iterable[str]) -> str:
    """Name the first few, and count the others."""
    names = sorted(names)
    more = len(names) - _SHOWN
    shown = ', '.join(names[:_SHOWN])
    return shown if more <= 0 else f'{shown} and {more} more'


def drop(
    weights: Weights, prefixes: Tuple[str, ...], why: str, notes: List[str]
) -> Weights:
    """Drop weights whose names start with a prefix, and note it."""
    dropped = [name for name in weights if name.startswith(prefixes)]
    if dropped:
        notes.append(f'dropped {some_of(dropped)}: {why}')
    return {name: value for name, value in weights.items() if name not in set(dropped)}


def strip_prefix(weights: Weights, prefix: str) -> Weights:
    """Strip a prefix off the names of weights, if every name has it."""
    if weights and all(name.startswith(prefix) for name in weights):
        return {name[len(prefix) :]: value for name, value in weights.items()}
    return dict(weights)


def place_final_norm(
    weights: Weights, target: Optional[str], embed_dims: int, notes: List[str]
) -> str:
    """Give the norm layer behind the last block its place; returns where it is.

    Args:
        weights: Backbone weights by mmaction's names, changed in place.
        target: ``'fc_norm'`` (behind mean pooling), ``'norm'`` (behind every token),
            ``'fresh'`` (``fc_norm`` at weight 1, bias 0), or None to leave it where
            it is, and to make it fresh where there is none.
        embed_dims: Channels of the backbone.
        notes: Extended by what happened.
    """
    check_final_norm(target)
    found = [
        name for name in (FC_NORM, NORM) if any(key in weights for key in _keys(name))
    ]
    source = found[0] if found else None
    if target is None:
        target = source or 'fresh'
    if target == 'fresh':
        for name in found:
            for key in _keys(name):
                weights.pop(key, None)
        weight, bias = _keys(FC_NORM)
        weights[weight] = torch.ones(embed_dims)
        weights[bias] = torch.zeros(embed_dims)
        replaced = f" in place of the checkpoint's {' and '.join(found)}"
        notes.append(
            'fc_norm starts afresh (weight 1, bias 0)' + (replaced if found else '')
        )
        return FC_NORM
    if source is None:
        raise UserError(
            f'the checkpoint has no norm layer behind its last block to become '
            f"{target!r}; choose the final norm 'fresh'"
        )
    if source != target:
        for old, new in zip(_keys(source), _keys(target)):
            if old in weights:
                weights[new] = weights.pop(old)
        notes.append(f'{source} of the checkpoint became {target}')
    return target


def check_final_norm(target: Optional[str]) -> None:
    """Raise :class:`UserError` for an unknown place of the final norm."""
    if target is not None and target not in FINAL_NORMS:
        raise UserError(
            f'final norm {target!r} is unknown; choose one of {", ".join(FINAL_NORMS)}'
        )


def check_layout(
    weights: Mapping[str, Tensor],
    expected: Mapping[str, Tuple[int, ...]],
    network: str = 'a plain vision transformer',
    names: str = 'mmaction',
) -> None:
    """Raise unless the weights are exactly those that are expected.

    Args:
        weights: Tensors by name.
        expected: Shapes by name.
        network: What a network of these shapes is called.
        names: Whose names these are.

    Raises:
        UserError: naming tensors that are unknown, missing or of another shape.
    """
    problems = []
    unknown = weights.keys() - expected.keys()
    missing = expected.keys() - weights.keys()
    if unknown:
        problems.append(f'it has {some_of(unknown)}, which such a network has not')
    if missing:
        problems.append(f'it lacks {some_of(missing)}')
    for name in sorted(expected.keys() & weights.keys()):
        shape = tuple(weights[name].shape)
        if shape != expected[name]:
            problems.append(f'{name} is {shape} and should be {expected[name]}')
            break
    if problems:
        raise UserError(
            f'the checkpoint is not that of {network}: {"; ".join(problems)} (names '
            f'are those of {names})'
        )


def require(weights: Mapping[str, Tensor], name: str, dimensions: int) -> Tensor:
    """Return the tensor of a name, or raise if it is not as required.

    Raises:
        UserError: if it is missing or has another number of dimensions.
    """
    if name not in weights:
        raise UserError(
            f'the checkpoint has no {name}; its names begin with '
            f'{some_of({key.split(".")[0] for key in weights}) or "nothing"}. Give a '
            'checkpoint of a vision transformer'
        )
    if weights[name].dim() != dimensions:
        raise UserError(
            f'{name} of the checkpoint is {tuple(weights[name].shape)}; a tensor of '
            f'{dimensions} dimensions is needed'
        )
    return weights[name]


def as_recognizer(backbone: Weights, head: Weights, backbone_only: bool) -> Weights:
    """Rename weights for a recognizer, or for the backbone alone."""
    if backbone_only:
        return backbone
    return {**{f'backbone.{name}': value for name, value in backbone.items()}, **head}


def fitting_backbone(layout: VitLayout, final_norm: str, **more: Any) -> Dict[str, Any]:
    """Return the arguments of the ``VisionTransformer`` that converted weights fit."""
    arguments = {'type': 'VisionTransformer', **layout.arguments(), **more}
    if final_norm == NORM:
        arguments['use_mean_pooling'] = False
    return arguments


def _keys(norm: str) -> Tuple[str, str]:
    return f'{norm}.weight', f'{norm}.bias'
