"""``importlib_metadata``, which MMAction2 imports and does not require."""

import importlib.metadata
import sys
from importlib.util import find_spec

from ..optional_imports import module_folder


def provide_importlib_metadata() -> bool:
    """Let mmaction find ``importlib_metadata``, which it imports but does not declare.

    The standard library's ``importlib.metadata`` (Python 3.8) has what
    ``mmaction.utils.dependency`` uses. Applies only when the package is absent.
    """
    if module_folder('mmaction') is None or find_spec('importlib_metadata') is not None:
        return False
    sys.modules['importlib_metadata'] = importlib.metadata
    return True
