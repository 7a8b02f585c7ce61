"""Cures for known breakages of the MM stack, one module each, and the version check.

:func:`apply` runs at ``import dr2net_mm`` and holds only what importing needs;
:func:`dr2net_mm.launch.prepare_mmengine` changes how MMEngine saves and loads. Every
cure is bounded to the versions that need it, does nothing elsewhere, and names the
upstream report in its docstring.
"""

from typing import Dict

from .decord_after_fork import let_decord_outlive_fork
from .importlib_metadata import provide_importlib_metadata
from .mmaction_beside_fork import let_mmaction_accept_fork
from .mmaction_beside_transformers import leave_out_vindlu
from .mmaction_drn import MissingDRN, provide_missing_drn
from .mmaction_hue import let_mmaction_turn_hues_back
from .mmdet_without_imaug import let_mmdet_do_without_imaug
from .numpy_names import provide_removed_numpy_names
from .pkg_resources_warning import silence_pkg_resources
from .torchvision_operators import define_missing_torchvision_operators
from .versions import (
    IGNORE_VERSIONS_VARIABLE,
    check_versions,
    installed_version,
    version_problems,
)

__all__ = [
    'IGNORE_VERSIONS_VARIABLE',
    'MissingDRN',
    'apply',
    'check_versions',
    'define_missing_torchvision_operators',
    'installed_version',
    'leave_out_vindlu',
    'let_decord_outlive_fork',
    'let_mmaction_accept_fork',
    'let_mmaction_turn_hues_back',
    'let_mmdet_do_without_imaug',
    'provide_importlib_metadata',
    'provide_missing_drn',
    'provide_removed_numpy_names',
    'silence_pkg_resources',
    'version_problems',
]


def apply() -> Dict[str, bool]:
    """Run every cure once; return which of them had something to do."""
    cures = (
        provide_importlib_metadata,
        provide_missing_drn,
        let_mmaction_accept_fork,
        let_decord_outlive_fork,
        leave_out_vindlu,
        let_mmaction_turn_hues_back,
        let_mmdet_do_without_imaug,
        provide_removed_numpy_names,
        define_missing_torchvision_operators,
        silence_pkg_resources,
    )
    return {cure.__name__: cure() for cure in cures}
