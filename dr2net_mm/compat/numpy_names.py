"""Names that numpy 2 removed and MMAction2 1.2.0 uses."""

from typing import Any

import numpy as np

from ..optional_imports import module_folder


def in1d(first: Any, second: Any) -> np.ndarray:
    """Return whether each element of ``first``, flattened, is in ``second``."""
    return np.isin(np.ravel(first), second)


def provide_removed_numpy_names() -> bool:
    """Provide ``np.Inf``, ``np.NAN`` (gone in numpy 2.0), ``in1d``, ``trapz`` (2.4).

    MMAction2 1.2.0 uses them in ``utils/misc.py`` and ``pose_transforms.py``, in the
    metric of AVA (``ava_evaluation/metrics.py``), in ``multimodal_metric.py`` and in
    ``functional/accuracy.py``. Applies only where they are missing.
    """
    if module_folder('mmaction') is None:
        return False
    missing = False
    for name, replacement in [
        ('Inf', np.inf),
        ('NAN', np.nan),
        ('in1d', in1d),
        ('trapz', getattr(np, 'trapezoid', None)),
    ]:
        if replacement is not None and not hasattr(np, name):
            setattr(np, name, replacement)
            missing = True
    return missing
