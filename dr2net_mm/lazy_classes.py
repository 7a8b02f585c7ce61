"""Classes that are registered by name and imported when they are first used.

Importing mmdet's or mmaction's models takes seconds and loads scipy and matplotlib,
which a run of the other library never needs. So a registry holds a function of the
class's name until the class is imported, which replaces the function::

    _classes = LazyClasses(MODELS, __name__, {'Mine': ('mine.mine', 'mmdet.models')})
    __getattr__ = _classes.load  # 'from package import Mine' imports it too

    @MODELS.register_module(force=True)  # in mine/mine.py
    class Mine: ...
"""

from importlib import import_module
from typing import Any, Callable, Dict, List, Mapping, Tuple

from mmengine.registry import Registry

from .optional_imports import import_failures, module_folder, usable


class LazyClasses:
    """Classes of a package, each of which needs an optional library.

    Args:
        registry: Where configs find the classes.
        package: Full name of the package.
        places: For each class, the module below the package that defines it, and the
            library that this module needs.
    """

    def __init__(
        self, registry: Registry, package: str, places: Mapping[str, Tuple[str, str]]
    ) -> None:
        self._package = package
        self._places: Dict[str, Tuple[str, str]] = dict(places)
        for name in places:
            registry.register_module(name=name, module=self._builder(name))

    def installed(self) -> List[str]:
        """Return the names of the classes whose library is installed."""
        return [
            name
            for name, (_, library) in self._places.items()
            if module_folder(library.split('.')[0]) is not None
        ]

    def load(self, name: str) -> type:
        """Import a class and return it.

        Raises:
            AttributeError: If there is no class of that name.
            ImportError: If the library that it needs cannot be imported.
        """
        if name not in self._places:
            raise AttributeError(f'module {self._package!r} has no attribute {name!r}')
        module, library = self._places[name]
        if not usable(library):
            raise ImportError(
                f'{name} needs {library}, which cannot be imported '
                f'({import_failures()[library]})'
            )
        return getattr(import_module(f'{self._package}.{module}'), name)

    def _builder(self, name: str) -> Callable[..., Any]:
        def build(*args: Any, **kwargs: Any) -> Any:
            return self.load(name)(*args, **kwargs)

        # MMEngine and error messages tell what they build by its name.
        build.__name__ = build.__qualname__ = name
        build.__module__ = self._package
        build.load_class = lambda: self.load(name)  # type: ignore[attr-defined]
        return build


def registered_class(entry: Any) -> Any:
    """Return the class of a registry's entry, imported if it has not been yet.

    Raises:
        ImportError: If the library that the class needs cannot be imported.
    """
    load = getattr(entry, 'load_class', None)
    return entry if load is None else load()
