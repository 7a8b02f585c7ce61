"""Checkpoints are loaded without running code that they name.

A checkpoint is a pickle, and a pickle may call any function while it is loaded. Here
only tensors, plain values and the classes of MMEngine's own checkpoints are made of
one. Setting ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`` lifts that, as in torch.
"""

import collections
import os
import pickle
import re
import types
from typing import IO, Any, Dict, List, Sequence, Union
from urllib.parse import urlparse

import torch

from dr2net_mm.errors import UserError

from .pickle_allowlist import mmengine_globals

TRUST_VARIABLE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'

#: Whether torch.load refuses other classes unasked, and can be told more of them.
TORCH_REFUSES = tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (2, 6)


class UnsafeCheckpointError(UserError, pickle.UnpicklingError):
    """A checkpoint that names functions or classes which are not loaded unasked."""


def load(
    source: Union[str, IO[bytes]],
    map_location: Any = None,
    more_classes: Sequence[type] = (),
) -> Any:
    """Load a file as ``torch.load`` does, without running code from it.

    Args:
        source: Path, or open file.
        map_location: As in ``torch.load``.
        more_classes: Classes to let through besides those of MMEngine's checkpoints.

    Raises:
        pickle.UnpicklingError: If the file names other functions or classes.
    """
    if os.environ.get(TRUST_VARIABLE, '0').lower() in ('1', 'y', 'yes', 'true'):
        return torch.load(source, map_location=map_location, weights_only=False)
    if TORCH_REFUSES:
        known = torch.serialization.get_safe_globals()
        # At its end the context takes away what it was given, even if known before.
        added = [entry for entry in _mmengine_entries() if entry not in known]
        with torch.serialization.safe_globals([*more_classes, *added]):
            return torch.load(source, map_location=map_location, weights_only=True)
    return load_restricted(source, map_location, more_classes)


def load_restricted(
    source: Union[str, IO[bytes]],
    map_location: Any = None,
    more_classes: Sequence[type] = (),
) -> Any:
    """Implement :func:`load` for torch before 2.6.

    Its own ``weights_only`` cannot be told MMEngine's classes.
    """
    _refuse_torchscript(source)
    module = types.ModuleType('restricted_pickle')
    allowed = _allowed_globals(more_classes)
    module.Unpickler = _restricted_unpickler(allowed)  # type: ignore[attr-defined]
    module.load = lambda file, **options: module.Unpickler(  # type: ignore
        file, **options
    ).load()
    return torch.load(
        source, map_location=map_location, pickle_module=module, weights_only=False
    )


def name_refused(error: Exception, source: str) -> UnsafeCheckpointError:
    """Return the error that names the file, what is refused, and the remedy."""
    found = re.search(r'GLOBAL (\S+)', str(error))
    reason = found.group(1) if found else ' '.join(str(error).split())[:200]
    return UnsafeCheckpointError(
        f'checkpoint {source!r} names a function or class that is not loaded unasked, '
        f'because it could run any code ({reason}). Weights and what MMEngine stores '
        'beside them need none: take the file from somebody you trust, and only then '
        f'set {TRUST_VARIABLE}=1'
    )


def secure_mmengine() -> None:
    """Let every checkpoint loader of MMEngine load without running code.

    MMEngine calls ``torch.load`` without ``weights_only``: that ran any code before
    torch 2.6, and its loader of URLs does so up to now, as ``torch.hub`` asks for it.
    """
    from mmengine.runner import checkpoint
    from mmengine.runner.checkpoint import CheckpointLoader

    CheckpointLoader.register_scheme('', loader=load_from_local, force=True)
    checkpoint.load_url = load_url
    if TORCH_REFUSES:
        allow_mmengine_classes()
    else:
        checkpoint.torch = _TorchThatRefuses('torch')


def allow_mmengine_classes() -> None:
    """Let ``torch.load(weights_only=True)`` read the checkpoints that MMEngine writes.

    torch 2.6 made ``weights_only=True`` the default. MMEngine up to 0.10.7 relies on
    the default, so resuming failed on the ``HistoryBuffer`` of its message hub
    (mmengine#1655).
    """
    torch.serialization.add_safe_globals(_mmengine_entries())


def _mmengine_entries() -> List[Any]:
    return [(value, name) for name, value in mmengine_globals().items()]


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local file as MMEngine's loader, which prints this name.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeCheckpointError: If it names other functions or classes.
    """
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path} can not be found.')
    try:
        return load(path, map_location)
    except pickle.UnpicklingError as error:
        raise name_refused(error, filename) from error


def load_url(
    url: str, model_dir: Any = None, map_location: Any = None, progress: bool = True
) -> Any:
    """Download a checkpoint, unless it has been before, and load it.

    Raises:
        UnsafeCheckpointError: If it names other functions or classes.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        torch.hub.download_url_to_file(url, path, progress=progress)
    try:
        return load(path, map_location)
    except pickle.UnpicklingError as error:
        raise name_refused(error, url) from error


def _refuse_torchscript(source: Union[str, IO[bytes]]) -> None:
    """Raise for what torch.load would hand to torch.jit.load, whatever it is asked."""
    from torch import serialization

    with serialization._open_file_like(source, 'rb') as file:
        start = file.tell()
        if serialization._is_zipfile(file):
            with serialization._open_zipfile_reader(file) as archive:
                if serialization._is_torchscript_zip(archive):
                    raise pickle.UnpicklingError(
                        'Unsupported global: GLOBAL TorchScript'
                    )
        file.seek(start)


class _TorchThatRefuses(types.ModuleType):
    """The module torch as MMEngine's loaders see it, with :func:`load` for its own."""

    load = staticmethod(load)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _allowed_globals(more_classes: Sequence[type]) -> Dict[str, Any]:
    """Return the functions and classes by the names that a pickle calls them by."""
    import _codecs

    from torch._weights_only_unpickler import _get_allowed_globals

    # Values of tensors, and plain containers that pickle calls by name.
    allowed = dict(_get_allowed_globals())
    for value in (set, frozenset, complex, bytearray, *more_classes):
        allowed[f'{value.__module__}.{value.__qualname__}'] = value
    allowed['_codecs.encode'] = _codecs.encode
    allowed.update(mmengine_globals())
    return allowed


def _restricted_unpickler(allowed: Dict[str, Any]) -> type:
    """Build an unpickler that knows these functions and classes and no others."""
    classes = tuple(value for value in allowed.values() if isinstance(value, type))
    plain = (collections.OrderedDict, *classes)

    class RestrictedUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
        stack: List[Any]
        dispatch = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined, misc]

        def find_class(self, module: str, name: str) -> Any:
            # Python 2's names of what Python 3 calls builtins.
            module = {'__builtin__': 'builtins'}.get(module, module)
            if f'{module}.{name}' not in allowed:
                raise pickle.UnpicklingError(
                    f'Unsupported global: GLOBAL {module}.{name}'
                )
            return allowed[f'{module}.{name}']

        def load_build(self) -> None:
            # Else a pickle could set attributes of the functions themselves.
            if not isinstance(self.stack[-2], plain):
                kind = type(self.stack[-2]).__name__
                raise pickle.UnpicklingError(f'Unsupported state of: GLOBAL {kind}')
            super().load_build()  # type: ignore[misc]

        dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]

    return RestrictedUnpickler
