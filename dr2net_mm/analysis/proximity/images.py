"""Images of a folder as a backbone takes them."""

import random
from pathlib import Path
from typing import Iterator, List, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dr2net_mm.errors import DataFileError, UserError

_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')

#: ImageNet's, for pixels in [0, 1].
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def chosen_files(folder: Path, count: int, seed: int = 0) -> List[Path]:
    """Return some image files of a folder, drawn at random.

    Raises:
        UserError: If the folder holds no images.
    """
    if not folder.is_dir():
        raise UserError(f'--images {folder}: there is no such folder')
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in _SUFFIXES)
    if not files:
        raise UserError(f'--images {folder}: no images ({", ".join(_SUFFIXES)}) in it')
    return random.Random(seed).sample(files, min(count, len(files)))


def image_batches(
    files: Sequence[Path], size: Sequence[int], batch: int
) -> Iterator[Tensor]:
    """Yield batches [B, 3, H, W], resized and normalized as for ImageNet.

    Raises:
        DataFileError: If a file cannot be read.
    """
    height, width = size[-2:]
    for start in range(0, len(files), batch):
        pixels = [_read(file, height, width) for file in files[start : start + batch]]
        values = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        yield (values - mean) / deviation


def _read(file: Path, height: int, width: int) -> np.ndarray:
    try:
        image = Image.open(file).convert('RGB')
    except (OSError, SyntaxError, ValueError) as error:
        raise DataFileError(f'image {file} cannot be read: {error}') from None
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
