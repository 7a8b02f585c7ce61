"""Building a timm model for its features, and naming what is wrong with a request."""

import difflib
from typing import Any, Dict, List, Sequence, Tuple, Union

import timm
from torch import nn

from .family import FAMILIES, Family

OutIndices = Union[None, int, Sequence[int]]


def build_model(name: str, pretrained: bool, arguments: Dict[str, Any]) -> nn.Module:
    """Create a timm model without a classifier.

    Args:
        name: timm's name of the model, with a tag or without.
        pretrained: Whether to load timm's own weights, from the network.
        arguments: Arguments of ``timm.create_model``.

    Raises:
        ValueError: If timm has no model of the name, or the weights that
            ``pretrained=True`` asks for cannot be had.
        TypeError: If the model has no argument of a name.
    """
    check_name(name)
    try:
        return timm.create_model(name, pretrained, num_classes=0, **arguments)
    except OSError as error:
        if not pretrained:
            raise
        reason = ' '.join(str(error).split())[:200]
        raise ValueError(
            f'pretrained=True cannot get the weights of {name} ({reason}); give the '
            'path of a checkpoint that is on this machine.'
        ) from error
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        reason = str(error).split('__init__() ')[-1]
        raise TypeError(
            f"{name} {reason}; the arguments of timm's model class are accepted, and "
            'img_size only where position embeddings or windows depend on it.'
        ) from error


def check_name(name: str) -> None:
    """Check that timm has a model of a name.

    Raises:
        ValueError: If it has none, with the nearest names.
    """
    plain = name.split('.')[0]
    if ':' in name or timm.is_model(plain):
        return
    near = difflib.get_close_matches(plain, timm.list_models(), n=3, cutoff=0.6)
    hint = f'nearest: {", ".join(near)}' if near else 'see timm.list_models()'
    raise ValueError(f'timm {timm.__version__} has no model {name!r}; {hint}.')


def family_of(
    name: str, model: nn.Module, output_norm: bool, img_size: Any = None
) -> Family:
    """Return the family of a model, by its exact class.

    Raises:
        ValueError: If there is none.
    """
    from . import families  # noqa: F401 - fills the registry

    found = FAMILIES.get(type(model))
    if found is not None:
        return found(model, output_norm, img_size)
    parents = [one for one in type(model).__mro__[1:] if one in FAMILIES]
    why = ''
    if parents:
        why = f': it extends {parents[0].__name__}, with a forward of its own'
    known = ', '.join(sorted({one.__name__ for one in FAMILIES}))
    raise ValueError(
        f'{name} is a {type(model).__name__}, whose forward pass is not known{why}. '
        f'Choose a model of {known}, or register its family '
        '(docs/adding_a_backbone.md).'
    )


def taken_indices(name: str, count: int, out_indices: OutIndices) -> Tuple[int, ...]:
    """Numbers of the features that ``out_indices`` asks for, as timm counts them.

    Raises:
        ValueError: If one is out of range, or there is none, or one twice.
    """
    if out_indices is None:
        out_indices = count
    if isinstance(out_indices, int):
        # The last ones.
        taken = list(range(count))[-out_indices:] if 0 < out_indices <= count else []
    else:
        taken = [i + count if i < 0 else i for i in out_indices]
        taken = taken if all(0 <= i < count for i in taken) else []
    if not taken or len(set(taken)) < len(taken):
        raise ValueError(
            f'{name} has {count} feature maps; out_indices takes different numbers '
            f'from {-count} to {count - 1}, or how many of the last ones (1 to '
            f'{count}), got {out_indices!r}.'
        )
    return tuple(sorted(taken))


def prune(model: nn.Module, taken: Sequence[int]) -> None:
    """Take away what the features do not use: the head, and what is behind the last.

    Args:
        model: A timm model, changed in place.
        taken: Numbers of the features.
    """
    model.prune_intermediate_layers(list(taken), prune_norm=False, prune_head=True)


def batch_norms(model: nn.Module) -> List[str]:
    """Names of the layers whose statistics an evaluation in training mode changes."""
    kind = nn.modules.batchnorm._BatchNorm
    return [name for name, one in model.named_modules() if isinstance(one, kind)]


def feature_info(model: nn.Module, key: str, taken: Sequence[int]) -> List[Any]:
    """Return a property of the features, as timm's ``feature_info`` has it."""
    info = model.feature_info
    return [info[i][key] for i in taken]
