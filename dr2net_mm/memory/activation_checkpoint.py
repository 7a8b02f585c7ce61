"""Activation checkpointing of modules inside a model that is built already."""

import difflib
import types
from typing import Any, Dict, List, Sequence, Tuple, Type

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def _checkpointed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Run the forward of the class, recomputed in the backward pass."""
    # Taken from the class at each call: a copy of the module calls its own.
    forward = types.MethodType(type(self).forward, self)
    if not (self.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


# Under the name by which pickle looks up a method of an instance.
_checkpointed.__name__ = 'forward'


def checkpoint_modules(model: nn.Module, names: Sequence[str]) -> List[nn.Module]:
    """Let modules of a model keep only their inputs for the backward pass.

    It takes positional and keyword arguments, and any nested outputs. A module is
    changed in place: parameters, names and state-dict keys stay as they are, and a
    deep copy is independent of the original. Modules that are changed already are
    left alone.

    Args:
        model: The model that the names are of.
        names: Names as in ``model.named_modules()``. Of a ``ModuleList``, or of a
            ``Sequential``, each child is checkpointed by itself.

    Returns:
        The modules that are checkpointed, in order.

    Raises:
        ValueError: If there is no module of a name, or one has a forward of its own
            already.
    """
    chosen = [place for name in names for place in module_places(model, name)]
    for name, module in chosen:
        if 'forward' in vars(module) and not is_checkpointed(module):
            raise ValueError(
                f'{name} of {type(model).__name__} has had its forward replaced '
                'already; leave out activation_checkpointing in the cfg of the '
                'runner, or this module here.'
            )
    for _, module in chosen:
        module.forward = types.MethodType(_checkpointed, module)
    return [module for _, module in chosen]


def restore_modules(modules: Sequence[nn.Module]) -> None:
    """Undo :func:`checkpoint_modules`."""
    for module in modules:
        if is_checkpointed(module):
            del module.forward


def is_checkpointed(module: nn.Module) -> bool:
    """Return whether :func:`checkpoint_modules` has changed this very module."""
    forward = vars(module).get('forward')
    return getattr(forward, '__func__', None) is _checkpointed


def module_places(
    model: nn.Module,
    name: str,
    containers: Tuple[Type[nn.Module], ...] = (nn.ModuleList, nn.Sequential),
) -> List[Tuple[str, nn.Module]]:
    """Return a module by its name, or the children of a container.

    Raises:
        ValueError: If the model has no module of the name.
    """
    modules: Dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if not name or name not in modules:
        near = difflib.get_close_matches(name, modules, n=3, cutoff=0.5)
        known = near or [child for child, _ in model.named_children()]
        raise ValueError(
            f'{type(model).__name__} has no module {name!r}; '
            f'{"nearest" if near else "its children"}: {", ".join(known)}.'
        )
    module = modules[name]
    if not isinstance(module, containers):
        return [(name, module)]
    return [(f'{name}.{key}', child) for key, child in module.named_children()]
