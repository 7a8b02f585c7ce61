"""Annotations whose palette index is the number of an object."""

import numpy as np
from PIL import Image

from dr2net_mm.errors import DataFileError


def read_palette(path: str) -> np.ndarray:
    """Read the object numbers of an annotation PNG, 0 for none; uint8 [H, W].

    Raises:
        DataFileError: If the file is missing, damaged or no picture with a palette.
    """
    try:
        with Image.open(path) as image:
            numbers = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise DataFileError(f'annotation {path} cannot be read ({error})') from None
    if numbers.ndim != 2:
        raise DataFileError(
            f'annotation {path} has {numbers.shape[-1]} colors a pixel; a picture with '
            'a palette is expected, whose index is the number of the object'
        )
    return numbers
