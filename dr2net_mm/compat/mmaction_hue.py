"""MMAction2's jitter of hues under numpy 2, which refuses its arithmetic."""

import sys
from contextlib import contextmanager
from typing import Any, Iterator

import numpy as np

from ..optional_imports import module_folder
from .import_hooks import hook_import

MODULE = 'mmaction.datasets.transforms.processing'


def adjust_hue(image: np.ndarray, factor: float) -> np.ndarray:
    """Turn the hues of an image, as ``ColorJitter.adjust_hue`` does under numpy 1.

    Args:
        image: RGB, [H, W, 3], 0 to 255.
        factor: Share of 255 by which the hue, 0 to 179, is raised.
    """
    import cv2

    hsv = cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV)
    offset = int(factor * 255)
    # numpy 1 takes the smallest type that holds the offset, numpy 2 that of the image.
    hue = hsv[..., 0] + (np.int16(offset) if offset < 0 else np.uint8(offset))
    hsv[..., 0] = hue % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)


@contextmanager
def _replaced_hue(module: Any) -> Iterator[None]:
    yield
    module.ColorJitter.adjust_hue = staticmethod(adjust_hue)


def let_mmaction_turn_hues_back() -> bool:
    """Let MMAction2's ``ColorJitter`` lower hues under numpy 2.

    MMAction2 1.2.0 adds a negative number to ``uint8``, which numpy 2.0 answers with
    "Python integer -18 out of bounds for uint8" in about every second clip. Applies
    only under numpy 2.
    """
    if module_folder('mmaction') is None or int(np.__version__.split('.')[0]) < 2:
        return False
    if MODULE in sys.modules:
        with _replaced_hue(sys.modules[MODULE]):
            return True
    hook_import(MODULE, _replaced_hue)
    return True
