"""MMAction2 1.2.0 beside OneDL's MMCV 2.3, which it refuses by its number."""

import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Iterator

from ..optional_imports import module_folder
from .import_hooks import hook_import
from .versions import installed_version

# The newest MMCV that MMAction2 1.2.0 accepts.
ACCEPTED = '2.1.0'


@contextmanager
def _accepted_version_of_mmcv(_: ModuleType) -> Iterator[None]:
    import mmcv

    stated = mmcv.__version__
    mmcv.__version__ = ACCEPTED
    try:
        yield
    finally:
        mmcv.__version__ = stated


def let_mmaction_accept_fork() -> bool:
    """Let MMAction2 up to 1.2.0 be imported beside MMCV 2.3 of OneDL.

    ``mmaction/__init__.py`` asserts MMCV < 2.2.0. The version is replaced only while
    that file runs. Applies only to MMCV 2.3, so that other versions stay refused.
    """
    if module_folder('mmaction') is None or 'mmaction' in sys.modules:
        return False
    mmcv = installed_version('mmcv', 'onedl-mmcv') or ''
    mmaction = installed_version('mmaction', 'mmaction2') or ''
    if not mmcv.startswith('2.3.') or not mmaction.startswith(('1.1.', '1.2.')):
        return False
    hook_import('mmaction', _accepted_version_of_mmcv)
    return True
