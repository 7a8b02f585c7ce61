"""Cures for known breakages of the MM stack, and the check of its versions.

:func:`apply` runs at ``import dr2net_mm`` and holds only what importing needs;
:func:`dr2net_mm.launch.prepare_mmengine` changes how MMEngine saves and loads. Every
cure is bounded to the versions that need it, does nothing elsewhere, and names the
upstream report in its docstring.
"""

import importlib.metadata
import sys
import types
import warnings
from importlib.util import find_spec
from typing import Any, Dict

from ..optional_imports import module_folder
from .mmaction_beside_fork import let_mmaction_accept_fork
from .mmaction_beside_transformers import leave_out_vindlu
from .numpy_names import provide_removed_numpy_names
from .versions import (
    IGNORE_VERSIONS_VARIABLE,
    check_versions,
    installed_version,
    version_problems,
)

__all__ = [
    'IGNORE_VERSIONS_VARIABLE',
    'MissingDRN',
    'apply',
    'check_versions',
    'define_missing_torchvision_operators',
    'installed_version',
    'leave_out_vindlu',
    'let_mmaction_accept_fork',
    'provide_importlib_metadata',
    'provide_missing_drn',
    'provide_removed_numpy_names',
    'silence_pkg_resources',
    'version_problems',
]


class MissingDRN:
    """Stand-in for mmaction's DRN localizer, which its wheel does not carry."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            'the DRN localizer is missing from the mmaction2 1.2.0 packages '
            '(mmaction2#2714); install mmaction2 from its git repository to use DRN'
        )


def provide_missing_drn() -> bool:
    """Let ``mmaction.models`` be imported although its wheel lacks one package.

    ``mmaction.models.localizers`` imports ``.drn.drn``, which is missing from the wheel
    and the sdist of mmaction2 1.2.0 (mmaction2#2714, PR #2721). Applies only when the
    folder is absent.
    """
    folder = module_folder('mmaction')
    name = 'mmaction.models.localizers.drn'
    if folder is None or name in sys.modules:
        return False
    localizers = folder / 'models' / 'localizers'
    if not localizers.is_dir() or (localizers / 'drn').exists():
        return False
    package, module = types.ModuleType(name), types.ModuleType(f'{name}.drn')
    package.__path__ = []  # type: ignore[attr-defined]
    package.drn = module  # type: ignore[attr-defined]
    module.DRN = MissingDRN  # type: ignore[attr-defined]
    sys.modules[name] = package
    sys.modules[f'{name}.drn'] = module
    return True


def provide_importlib_metadata() -> bool:
    """Let mmaction find ``importlib_metadata``, which it imports but does not declare.

    The standard library's ``importlib.metadata`` (Python 3.8) has what
    ``mmaction.utils.dependency`` uses. Applies only when the package is absent.
    """
    if module_folder('mmaction') is None or find_spec('importlib_metadata') is not None:
        return False
    sys.modules['importlib_metadata'] = importlib.metadata
    return True


def define_missing_torchvision_operators() -> bool:
    """Let torchvision (and timm) be imported when its compiled operators cannot load.

    With a CPU torch beside a CUDA build of torchvision, ``import torchvision`` fails
    with "operator torchvision::nms does not exist", because it registers shape
    functions for operators that its library would have defined. Declaring them is
    enough for everything that does not call them.
    """
    import torch

    folder = module_folder('torchvision')
    declared = hasattr(torch.ops.torchvision, 'nms')
    if folder is None or declared or 'torchvision' in sys.modules:
        return False
    try:
        for library in folder.glob('_C*.so'):
            torch.ops.load_library(str(library))
    except OSError:
        fragment = torch.library.Library('torchvision', 'FRAGMENT')
        fragment.define('nms(Tensor dets, Tensor scores, float threshold) -> Tensor')
        fragment.define('qnms(Tensor dets, Tensor scores, float threshold) -> Tensor')
        # The definitions live as long as the Library object.
        define_missing_torchvision_operators.fragment = fragment  # type: ignore
        return True
    return False


def silence_pkg_resources() -> bool:
    """Hide a warning that setuptools 67.5 to 81 give when MMEngine looks up a path.

    MMEngine up to 0.10.7 imports and reloads ``pkg_resources`` (MMEngine PR #1676);
    nobody who trains a model can act on it.
    """
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated as an API')
    return True


def apply() -> Dict[str, bool]:
    """Run every cure once; returns which of them had something to do."""
    cures = (
        provide_importlib_metadata,
        provide_missing_drn,
        let_mmaction_accept_fork,
        leave_out_vindlu,
        provide_removed_numpy_names,
        define_missing_torchvision_operators,
        silence_pkg_resources,
    )
    return {cure.__name__: cure() for cure in cures}
