"""Names that numpy removed and MMAction2 1.2.0 uses."""

from typing import Any

import numpy as np

from ..optional_imports import module_folder


def in1d(first: Any, second: Any) -> np.ndarray:
    """Return whether each element of ``first``, flattened, is in ``second``."""
    return np.isin(np.ravel(first), second)


def provide_removed_numpy_names() -> bool:
    """Provide ``np.in1d`` and ``np.trapz``, which later releases of numpy 2 removed.

    MMAction2 1.2.0 calls them in its metrics (``multimodal_metric.py``,
    ``functional/accuracy.py``). Applies only where they are missing.
    """
    if module_folder('mmaction') is None:
        return False
    missing = False
    for name, replacement in [
        ('in1d', in1d),
        ('trapz', getattr(np, 'trapezoid', None)),
    ]:
        if replacement is not None and not hasattr(np, name):
            setattr(np, name, replacement)
            missing = True
    return missing
