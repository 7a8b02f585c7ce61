"""A file backend of MMEngine whose files are wholly written or not there."""

from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, io, register_backend
from mmengine.fileio.backends import backends

from dr2net_mm.atomic_file import atomic_open


class AtomicLocalBackend(LocalBackend):
    """MMEngine's local file backend with writes that cannot be half done."""

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes to ``filepath``, all or nothing."""
        with atomic_open(filepath) as file:
            file.write(obj)

    def put_text(
        self, obj: str, filepath: Union[str, Path], encoding: str = 'utf-8'
    ) -> None:
        """Write text to ``filepath``, all or nothing."""
        with atomic_open(filepath, 'w', encoding) as file:
            file.write(obj)


def register_atomic_backend() -> bool:
    """Register :class:`AtomicLocalBackend` as MMEngine's backend for local paths.

    Returns False when it is registered already, or when the user replaced the local
    backend by one of their own, which then stays.
    """
    if backends.get('local') is not LocalBackend:
        return False
    register_backend('local', AtomicLocalBackend, force=True, prefixes='')
    # Backends made before are cached by prefix.
    for key, instance in list(io.backend_instances.items()):
        if type(instance) is LocalBackend:
            del io.backend_instances[key]
    return True
