"""Check of the installed stack against the ranges of :mod:`dr2net_mm.version`."""

import importlib.metadata
import os
import re
import sys
import warnings
from typing import Dict, List, Optional, Tuple

from ..optional_imports import module_folder
from ..version import (
    CORE_REQUIREMENTS,
    FORK_REQUIREMENTS,
    FORK_UNDECLARED_REQUIREMENTS,
    MM_REQUIREMENTS,
    PYTHON_REQUIRES,
    UNDECLARED_REQUIREMENTS,
    __version__,
)

IGNORE_VERSIONS_VARIABLE = 'DR2NET_IGNORE_VERSIONS'


def installed_version(name: str, distribution: str) -> Optional[str]:
    """Return the version of an importable package, None if it is absent or states none.

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


def fork_installed() -> bool:
    """Return whether OneDL's fork of MMEngine is installed in place of OpenMMLab's."""
    return _is_installed(FORK_REQUIREMENTS['mmengine'][0])


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def expected_stack(fork: bool) -> Dict[str, Tuple[str, str]]:
    """Return (distribution, range) by importable name, of the stack in use."""
    stack = {**CORE_REQUIREMENTS, **MM_REQUIREMENTS}
    return {**stack, **FORK_REQUIREMENTS} if fork else stack


def version_problems() -> List[str]:
    """Describe each package that is missing or outside the supported range."""
    from packaging.specifiers import SpecifierSet

    problems = mixed_stacks()
    python = '.'.join(str(part) for part in sys.version_info[:3])
    if python not in SpecifierSet(PYTHON_REQUIRES):
        problems.append(f'Python {python} is outside {PYTHON_REQUIRES}')
    fork = fork_installed()
    for name, (distribution, supported) in expected_stack(fork).items():
        version = installed_version(name, distribution)
        if version is None:
            if name in CORE_REQUIREMENTS and module_folder(name) is None:
                problems.append(
                    f'{distribution} is not installed: {remedy(name, fork)}'
                )
        elif not SpecifierSet(supported).contains(version, prereleases=True):
            problems.append(
                f'{distribution} {version} is outside {supported}: {remedy(name, fork)}'
            )
    return problems + undeclared_problems(fork)


def remedy(name: str, fork: bool) -> str:
    """Command that installs an importable package of OneDL's or OpenMMLab's stack."""
    requirement = ''.join(expected_stack(fork)[name])
    if fork and name == 'mmcv':
        # Its operators are compiled against the torch that is there.
        return f"pip install --no-build-isolation '{requirement}'"
    installer = 'mim' if name in MM_REQUIREMENTS and not fork else 'pip'
    return f"{installer} install '{requirement}'"


def mixed_stacks() -> List[str]:
    """One line for each package that is installed from both stacks, in one folder."""
    problems = []
    for name, (fork, _) in FORK_REQUIREMENTS.items():
        original = {**CORE_REQUIREMENTS, **MM_REQUIREMENTS}[name][0]
        if fork != original and _is_installed(fork) and _is_installed(original):
            problems.append(
                f'{original} and {fork} are both installed, in the same folder: '
                f'pip uninstall -y {original} {fork}, then install one of them'
            )
    return problems


def undeclared_problems(fork: bool) -> List[str]:
    """One line for each missing module that a stack imports without declaring it."""
    problems = []
    undeclared = FORK_UNDECLARED_REQUIREMENTS if fork else UNDECLARED_REQUIREMENTS
    for name, (distribution, supported) in undeclared.items():
        # Compat provides what MMAction2 uses of importlib_metadata.
        if name != 'importlib_metadata' and module_folder(name) is None:
            problems.append(
                f'MMEngine imports {name}, which is not installed: '
                f"pip install '{distribution}{supported}'"
            )
    # An extra of both at most.
    if module_folder('mmcv') is None:
        users = [name for name in ('mmdet', 'mmaction') if module_folder(name)]
        if users:
            problems.append(
                f'{" and ".join(users)} import mmcv, which is not installed: '
                + remedy('mmcv', fork)
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
