"""Cures of a module at the moment at which somebody imports it."""

import sys
from contextlib import AbstractContextManager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Callable, Optional

Around = Callable[[ModuleType], 'AbstractContextManager[Any]']


class ImportHook(MetaPathFinder):
    """Runs the code of one module inside a context.

    Args:
        name: The module.
        around: Makes the context from the module, which is still empty then.
    """

    def __init__(self, name: str, around: Around) -> None:
        self.name = name
        self._around = around

    def find_spec(
        self, name: str, path: Any = None, target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        """Return the module's spec with a wrapped loader; None for other modules."""
        spec = PathFinder.find_spec(name, path) if name == self.name else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with self._around(module):
                run(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def hook_import(name: str, around: Around) -> None:
    """Run the code of module ``name`` inside ``around`` once somebody imports it.

    A second call for the same module changes nothing.
    """
    hooks = [finder for finder in sys.meta_path if isinstance(finder, ImportHook)]
    if name not in [hook.name for hook in hooks]:
        sys.meta_path.insert(0, ImportHook(name, around))
