"""Optional packages that can be imported, and reasons why others cannot."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Optional

_import_failures: Dict[str, str] = {}


def module_folder(name: str) -> Optional[Path]:
    """Return the folder of a package without importing it; None if absent."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(list(spec.submodule_search_locations)[0])


def usable(name: str) -> bool:
    """Return whether an MM package ('mmdet', 'mmaction.models') can really be imported.

    An installed package may still refuse to be imported, e.g. mmdet beside MMCV 2.2;
    :func:`import_failures` then gives its reason.
    """
    if name in _import_failures:
        return False
    try:
        importlib.import_module(name)
    # mmdet and mmaction state a wrong MMCV by an assertion.
    except (ImportError, AssertionError, RuntimeError) as error:
        _import_failures[name] = f'{type(error).__name__}: {error}'
        return False
    return True


def import_failures() -> Dict[str, str]:
    """Return what :func:`usable` could not import, and the error of each."""
    return dict(_import_failures)
