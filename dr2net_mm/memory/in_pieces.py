"""Modules of a model that is built already, run in pieces during training."""

import functools
import types
from typing import Any, Callable, Dict, List, Sequence, Union

from torch import nn

from .activation_checkpoint import module_places
from .cuts import Cut, runs_as_usual
from .parts import Part, known_cut

#: Attribute of a module: for each of its methods that runs in pieces, cut and size.
CUTS = '_pieces_of_methods'

#: Arguments of a :class:`Cut` that a user may give.
OPTIONS = ('samples', 'tokens', 'shared', 'method', 'modules')

#: What a user may say of a module: its name, or arguments of a :class:`Cut` with it.
Choice = Union[str, Dict[str, Any]]


@functools.lru_cache(maxsize=None)
def _in_pieces(method: str) -> Callable[..., Any]:
    """Return the method of the class, run in pieces where gradients are needed."""

    def run(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if runs_as_usual(self):
            return getattr(type(self), method)(self, *args, **kwargs)
        cut, size = vars(self)[CUTS][method]
        return cut.run(self, args, kwargs, size)

    # The name by which pickle looks up a method of an instance.
    run.__name__ = method
    return run


def run_in_pieces(parts: Sequence[Part]) -> None:
    """Let parts of a model run in pieces, each computed again in the backward pass.

    A module is changed in place: parameters, names and state-dict keys stay as they
    are, and a deep copy is independent of the original.

    Args:
        parts: The parts.

    Raises:
        ValueError: If a part cannot be cut, or has a forward of its own already.
    """
    for part in parts:
        method = part.cut.method
        if method in vars(part.module) and not _is_cut(part.module, method):
            raise ValueError(
                f'{part.label} has been replaced already; name it either in modules '
                'or in pieces, and leave out activation_checkpointing in the cfg of '
                'the runner'
            )
        reason = part.cut.refusal(part.module)
        if reason:
            raise ValueError(f'{part.label} cannot run in pieces: {reason}.')
    for part in parts:
        method = part.cut.method
        vars(part.module).setdefault(CUTS, {})[method] = (part.cut, part.size)
        setattr(part.module, method, types.MethodType(_in_pieces(method), part.module))


def restore_parts(parts: Sequence[Part]) -> None:
    """Undo :func:`run_in_pieces`."""
    for part in parts:
        if _is_cut(part.module, part.cut.method):
            delattr(part.module, part.cut.method)
            del vars(part.module)[CUTS][part.cut.method]


def _is_cut(module: nn.Module, method: str) -> bool:
    replaced = vars(module).get(method)
    return getattr(replaced, '__func__', None) is _in_pieces(method)


def chosen_parts(model: nn.Module, choices: Sequence[Choice]) -> List[Part]:
    """Return the parts of a model that a user names.

    Args:
        model: The model.
        choices: Names of modules whose code is known, or that treat each token by
            itself; or dictionaries of a name ``module`` and the arguments of
            :class:`Cut`, for any other. Of a ``ModuleList``, each item is a part.

    Raises:
        ValueError: If there is no such module, or nothing is known of it.
    """
    parts = []
    for choice in choices:
        options = dict(module=choice) if isinstance(choice, str) else dict(choice)
        name, size = options.pop('module'), options.pop('size', 'auto')
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown or (options and not options.get('samples')):
            raise ValueError(
                f'pieces of {name} are described by {unknown or sorted(options)}; '
                f'accepted: {", ".join(OPTIONS)} and size, samples among them'
            )
        for path, module in module_places(model, name, (nn.ModuleList,)):
            cut = Cut(**options) if options else known_cut(module)
            if cut is None:
                raise ValueError(
                    f'{path} cannot run in pieces: nothing is known of '
                    f'{type(module).__name__}; name the arguments that begin with '
                    f"the samples, dict(module={name!r}, samples=['x']), or "
                    'checkpoint it with modules=[...].'
                )
            parts.append(Part(path, module, cut, size=size))
    return parts
