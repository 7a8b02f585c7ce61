"""Dr²Net: memory-efficient finetuning with dual-residual reversible backbones.

``custom_imports = dict(imports=['dr2net_mm'])`` in an MMDetection or MMAction2 config
registers the backbones and hooks of this package in MMEngine's root registries.
:mod:`dr2net_mm.reversible`, the engine, needs torch only: where MMEngine is not
installed nothing else is imported.

Backbones, hooks and loops can be imported from here too, as in
``from dr2net_mm import Dr2TimmBackbone``; the library that a backbone needs is imported
with it.
"""

from importlib.util import find_spec as _find_spec
from typing import Any as _Any

from .reversible import (
    CoefficientSchedule,
    DualResidualOptions,
    DualResidualSequential,
    DualResidualStage,
)
from .version import __version__

__all__ = [
    '__version__',
    'CoefficientSchedule',
    'DualResidualOptions',
    'DualResidualSequential',
    'DualResidualStage',
]

if _find_spec('mmengine') is not None:
    from . import compat

    compat.check_versions()
    compat.apply()

    from . import backbones, engine, tasks  # noqa: F401

    __all__ += [*backbones.__all__, *engine.__all__]


def __getattr__(name: str) -> _Any:
    """Return a public name of ``backbones`` or ``engine``."""
    if name in __all__:
        for package in (backbones, engine):
            if name in package.__all__:
                return getattr(package, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
