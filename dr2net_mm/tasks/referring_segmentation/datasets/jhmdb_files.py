"""Masks of JHMDB."""

import numpy as np

from dr2net_mm.errors import DataFileError


def read_person_masks(path: str) -> np.ndarray:
    """Read the masks of a ``puppet_mask.mat``, bool [T, H, W].

    Raises:
        DataFileError: If the file is missing or damaged.
    """
    from scipy.io import loadmat

    try:
        masks = loadmat(path)['part_mask']
    # scipy raises errors of many classes for a damaged file.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise DataFileError(
            f'{path} is no puppet mask of JHMDB ({type(error).__name__}: {reason})'
        ) from None
    if masks.ndim == 2:
        masks = masks[..., None]
    return masks.transpose(2, 0, 1) > 0
