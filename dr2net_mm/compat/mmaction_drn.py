"""The DRN localizer that the packages of MMAction2 1.2.0 lack."""

import sys
import types
from typing import Any

from ..optional_imports import module_folder


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
