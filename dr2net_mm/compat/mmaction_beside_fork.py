"""MMAction2 1.2.0 beside OneDL's MMCV 2.3, which it refuses by its number."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Optional

from ..optional_imports import module_folder
from .versions import installed_version

# The newest MMCV that MMAction2 1.2.0 accepts.
ACCEPTED = '2.1.0'


class MmactionFinder(MetaPathFinder):
    """Import ``mmaction`` while MMCV states a version that it accepts."""

    def find_spec(
        self, name: str, path: Any = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return the spec of ``mmaction`` with a wrapped loader; None otherwise."""
        spec = PathFinder.find_spec(name, path) if name == 'mmaction' else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            import mmcv

            stated = mmcv.__version__
            mmcv.__version__ = ACCEPTED
            try:
                run(module)
            finally:
                mmcv.__version__ = stated

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


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
    if not any(isinstance(finder, MmactionFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MmactionFinder())
    return True
