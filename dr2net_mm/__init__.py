"""Dr²Net: memory-efficient finetuning with dual-residual reversible backbones.

``custom_imports = dict(imports=['dr2net_mm'])`` in an MMDetection or MMAction2 config
registers the backbones and hooks of this package in MMEngine's root registries.
:mod:`dr2net_mm.reversible`, the engine, needs torch only: where MMEngine is not
installed nothing else is imported.
"""

from importlib.util import find_spec as _find_spec

from .version import __version__

if _find_spec('mmengine') is not None:
    from . import compat

    compat.check_versions()
    compat.apply()

    from . import backbones, engine, tasks  # noqa: F401

__all__ = ['__version__']
