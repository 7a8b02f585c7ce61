"""OneDL's MMDetection without imaug, which only its detectors of lanes use."""

import sys
import types
from contextlib import contextmanager
from typing import Any, Iterator, List

from ..optional_imports import module_folder
from .import_hooks import hook_import

#: The module that imports imaug, and what it imports of it.
IMPORTER = 'mmdet.datasets.transforms.generate_line'
IMPORTED = ('augmenters', 'augmentables', 'augmentables.lines', 'augmentables.segmaps')


class MissingAugmenter:
    """Stand-in for a class of imaug."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            "mmdet's transforms for lanes need imaug and scikit-image, of which one is "
            'not installed: pip install imaug scikit-image'
        )


class MissingImaug(types.ModuleType):
    """Stand-in for ``imgaug``, as imaug's package is called, or a module of it."""

    __path__: List[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return MissingAugmenter


@contextmanager
def missing_imaug(importer: types.ModuleType) -> Iterator[None]:
    """Let ``import imgaug`` give stand-ins."""
    modules = {name: MissingImaug(name) for name in ('imgaug',)}
    for part in IMPORTED:
        module = modules[f'imgaug.{part}'] = MissingImaug(f'imgaug.{part}')
        parent, _, child = module.__name__.rpartition('.')
        setattr(modules[parent], child, module)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, real in before.items():
            if real is None:
                del sys.modules[name]
            else:
                sys.modules[name] = real


def let_mmdet_do_without_imaug() -> bool:
    """Let OneDL's MMDetection 3.5 be imported where imaug or scikit-image is missing.

    ``mmdet.datasets`` imports both, through one file of transforms for lanes
    (``generate_line.py``, onedl-mmdetection 3.5.1). They bring numba and two more
    builds of OpenCV along, some 300 MB that no other detector needs. The stand-ins last
    while that file runs and raise when a transform for lanes is made.
    """
    folder = module_folder('mmdet')
    if folder is None or IMPORTER in sys.modules:
        return False
    if not (folder / 'datasets' / 'transforms' / 'generate_line.py').is_file():
        return False
    if module_folder('imgaug') is not None and module_folder('skimage') is not None:
        return False
    hook_import(IMPORTER, missing_imaug)
    return True
