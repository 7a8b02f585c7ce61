"""Cures for known breakages of the MM stack, and the check of its versions.

:func:`apply` runs at ``import dr2net_mm`` and holds only what importing needs;
:func:`dr2net_mm.launch.prepare_mmengine` changes how MMEngine saves and loads. Every
cure is bounded to the versions that need it, does nothing elsewhere, and names the
upstream report in its docstring.
"""

import importlib.metadata
import os
import re
import sys
import types
import warnings
from importlib.util import find_spec
from typing import Any, Dict, List, Optional

from .optional_imports import module_folder
from .version import (
    CORE_REQUIREMENTS,
    MM_REQUIREMENTS,
    PYTHON_REQUIRES,
    UNDECLARED_REQUIREMENTS,
    __version__,
)

IGNORE_VERSIONS_VARIABLE = 'DR2NET_IGNORE_VERSIONS'


def installed_version(name: str, distribution: str) -> Optional[str]:
    """Version of an importable package, None if it is absent or states none.

    Reads the package's own ``version.py`` first, because a clone on ``PYTHONPATH`` has
    no metadata; importing is avoided because mmdet refuses to be imported beside an
    MMCV that it does not support.
    """
    folder = module_folder(name)
    if folder is None:
        return None
    version_file = folder / 'version.py'
    if version_file.is_file():
        text = version_file.read_text(encoding='utf-8')
        found = re.search(r'^__version__\s*=\s*[\'"]([^\'"]+)', text, re.MULTILINE)
        if found:
            return found.group(1)
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get(name), '__version__', None)


def version_problems() -> List[str]:
    """One line for each package that is missing or outside the supported range."""
    from packaging.specifiers import SpecifierSet

    problems = []
    python = '.'.join(str(part) for part in sys.version_info[:3])
    if python not in SpecifierSet(PYTHON_REQUIRES):
        problems.append(f'Python {python} is outside {PYTHON_REQUIRES}')
    for name, (distribution, supported) in {
        **CORE_REQUIREMENTS,
        **MM_REQUIREMENTS,
    }.items():
        version = installed_version(name, distribution)
        installer = 'mim' if name in MM_REQUIREMENTS else 'pip'
        remedy = f"{installer} install '{distribution}{supported}'"
        if version is None:
            if name in CORE_REQUIREMENTS and module_folder(name) is None:
                problems.append(f'{distribution} is not installed: {remedy}')
        elif not SpecifierSet(supported).contains(version, prereleases=True):
            problems.append(
                f'{distribution} {version} is outside {supported}: {remedy}'
            )
    if module_folder('pkg_resources') is None:
        distribution, supported = UNDECLARED_REQUIREMENTS['pkg_resources']
        problems.append(
            f'MMEngine imports pkg_resources, which is not installed: '
            f"pip install '{distribution}{supported}'"
        )
    return problems


def check_versions() -> None:
    """Compare the installed stack with the ranges of :mod:`dr2net_mm.version`.

    Raises:
        ImportError: naming every package outside its range and the command that
            mends it. Setting ``DR2NET_IGNORE_VERSIONS=1`` makes it a warning.
    """
    problems = version_problems()
    if not problems:
        return
    message = (
        f'dr2net_mm {__version__} does not support this environment:\n  '
        + '\n  '.join(problems)
        + f'\nSet {IGNORE_VERSIONS_VARIABLE}=1 to go on regardless.'
    )
    if os.environ.get(IGNORE_VERSIONS_VARIABLE, '0') not in ('', '0'):
        warnings.warn(message, stacklevel=2)
        return
    raise ImportError(message)


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
        define_missing_torchvision_operators,
        silence_pkg_resources,
    )
    return {cure.__name__: cure() for cure in cures}
