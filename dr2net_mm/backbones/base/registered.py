"""The dual-residual backbones that a config can name, whoever defined them."""

import contextlib
from typing import Any, Iterator, Optional, Tuple, Type

from mmengine.registry import MODELS

from dr2net_mm.lazy_classes import registered_class

from .dual_residual import DualResidualBackbone


def class_name(node: Any) -> str:
    """Return the class that a node of a config asks for, without its scope."""
    kind = (node or {}).get('type', '')
    return kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]


def registered_backbone(name: str) -> Optional[Type[DualResidualBackbone]]:
    """Return the dual-residual backbone of a name without scope.

    None where the name is not registered, is that of another class, or its library
    cannot be imported: building the model says so.
    """
    for registry in (MODELS, *MODELS.children.values()):
        backbone = _backbone(registry.module_dict.get(name))
        if backbone is not None:
            return backbone
    return None


def registered_backbones() -> Iterator[Tuple[str, Type[DualResidualBackbone]]]:
    """Yield names and classes of all dual-residual backbones that can be imported.

    Imports the libraries that they need, one after the other.
    """
    for registry in (MODELS, *MODELS.children.values()):
        for name, entry in list(registry.module_dict.items()):
            backbone = _backbone(entry)
            if backbone is not None:
                yield name, backbone


def declaring_backbone(name: str) -> Optional[Type[DualResidualBackbone]]:
    """Return the dual-residual backbone of a name, its own or its twin's.

    Args:
        name: Class of the backbone or of its conventional twin, without scope.
    """
    found = registered_backbone(name)
    if found is not None:
        return found
    for _, backbone in registered_backbones():
        plain = getattr(backbone, 'plain_class', '')
        if plain.split('.')[-1] == name:
            return backbone
    return None


def _backbone(entry: Any) -> Optional[Type[DualResidualBackbone]]:
    with contextlib.suppress(ImportError):
        found = registered_class(entry)
        if isinstance(found, type) and issubclass(found, DualResidualBackbone):
            return found
    return None
