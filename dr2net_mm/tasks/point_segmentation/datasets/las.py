"""Lidar in LAS and LAZ files."""

from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from dr2net_mm.errors import DataFileError, UserError

from .cloud import IGNORED, Cloud
from .sphere_dataset import SphereDataset


@DATASETS.register_module()
class LasDataset(SphereDataset):
    """Spheres of LAS or LAZ files whose points carry a classification.

    Colors are the file's red, green and blue, scaled to 0 … 255; a file without colors
    gives gray ones from the intensity of its returns. The smallest coordinate of each
    axis becomes 0. Units are those of the file: choose ``voxel_size`` and ``radius`` in
    them. Needs ``laspy`` (``pip install 'laspy[lazrs]'``; ``lazrs`` reads LAZ).

    Args:
        data_root: Folder of the files.
        files: Their names, one cloud each.
        classes: Names of the classes and the codes of the files that count as each,
            such as ``dict(ground=[2, 9], building=[6])``. Points of other codes have no
            label: the network sees them and neither loss nor metric does.
        region: ``(x_min, y_min, x_max, y_max)`` as shares of each file's extent, 0 to
            1: the points outside are left out. It sets areas of training and
            validation apart.
        **kwargs: Arguments of :class:`SphereDataset`.

    Raises:
        DataFileError: If a file is missing or cannot be used.
        UserError: If laspy is not installed.
        ValueError: If classes or region are not what they should be.
    """

    def __init__(
        self,
        data_root: str,
        files: Sequence[str],
        classes: Mapping[str, Sequence[int]],
        region: Optional[Sequence[float]] = None,
        **kwargs: Any,
    ) -> None:
        codes = [code for chosen in classes.values() for code in chosen]
        if not codes or len(set(codes)) < len(codes):
            raise ValueError(
                f'classes is {dict(classes)}; give each code of the files to one class'
            )
        if region is not None and not _is_region(region):
            raise ValueError(
                f'region is {region}; give (x_min, y_min, x_max, y_max), shares of the '
                'extent from 0 to 1'
            )
        if not files:
            raise ValueError('files is empty; give the names of LAS or LAZ files')
        self.data_root, self.files = Path(data_root), list(files)
        self.codes = {name: tuple(chosen) for name, chosen in classes.items()}
        self.CLASSES = tuple(classes)
        self.region = region
        super().__init__(**kwargs)

    def load_clouds(self) -> List[Cloud]:
        """Load the clouds of the split."""
        return [self._load(self.data_root / name) for name in self.files]

    def _load(self, path: Path) -> Cloud:
        las = read_las(path)
        positions = np.stack([las.x, las.y, las.z], axis=1).astype(np.float64)
        colors, codes = colors_of(las), np.asarray(las.classification)
        if self.region is not None:
            inside = _inside(positions, self.region)
            positions, colors, codes = positions[inside], colors[inside], codes[inside]
        if not len(positions):
            raise DataFileError(f'{path} has no points in the region {self.region}')
        positions -= positions.min(axis=0)
        labels = np.full(len(codes), IGNORED, dtype=np.uint8)
        for number, chosen in enumerate(self.codes.values()):
            labels[np.isin(codes, chosen)] = number
        self._report(path, codes, labels)
        return Cloud(path.name, positions.astype(np.float32), colors, labels)

    def _report(self, path: Path, codes: np.ndarray, labels: np.ndarray) -> None:
        """Log how many points each class has, and which codes have none.

        Raises:
            DataFileError: If no point has a class.
        """
        left = sorted(set(codes[labels == IGNORED].tolist()))
        if (labels == IGNORED).all():
            raise DataFileError(
                f'{path} has the classification codes {left} and no point of a class; '
                'give these codes in classes'
            )
        counts = [
            f'{name} {int((labels == number).sum()):,}'
            for number, name in enumerate(self.CLASSES)
        ]
        without = f'; codes without a class: {left}' if left else ''
        print_log(f'{path}: {", ".join(counts)}{without}', 'current')


def read_las(path: Path) -> Any:
    """Content of a LAS or LAZ file.

    Raises:
        DataFileError: If there is no such file, or it cannot be read.
        UserError: If laspy, or what it needs for LAZ, is not installed.
    """
    try:
        import laspy
    except ImportError:
        raise UserError(f"{path} needs laspy: pip install 'laspy[lazrs]'") from None
    if not path.is_file():
        raise DataFileError(f'{path} is no file; check data_root and files')
    try:
        return laspy.read(str(path))
    except Exception as error:
        reason = ' '.join(str(error).split())
        if 'LazBackend' in reason:
            raise UserError(
                f'{path} is compressed, which needs lazrs: pip install lazrs'
            ) from error
        raise DataFileError(
            f'{path} is no readable LAS file ({reason}); fetch it again'
        ) from error


def colors_of(las: Any) -> np.ndarray:
    """Colors uint8 [n, 3] of a LAS file."""
    names = set(las.point_format.dimension_names)
    if {'red', 'green', 'blue'} <= names:
        channels = np.stack([las.red, las.green, las.blue], axis=1).astype(np.int64)
        # The standard asks for 16 bits; many files hold 8.
        return (channels >> 8 if channels.max() > 255 else channels).astype(np.uint8)
    intensity = np.asarray(las.intensity, dtype=np.float64)
    low, high = np.percentile(intensity, (1, 99))
    scaled = (intensity - low) / max(high - low, 1.0)
    gray = (255 * scaled.clip(0, 1)).astype(np.uint8)
    return np.repeat(gray[:, None], 3, axis=1)


def _is_region(region: Sequence[float]) -> bool:
    if len(region) != 4:
        return False
    x_min, y_min, x_max, y_max = region
    return 0 <= x_min < x_max <= 1 and 0 <= y_min < y_max <= 1


def _inside(positions: np.ndarray, region: Sequence[float]) -> np.ndarray:
    """Which points lie in a region, bool [n]."""
    low, high = positions[:, :2].min(axis=0), positions[:, :2].max(axis=0)
    shares = (positions[:, :2] - low) / np.maximum(high - low, 1e-9)
    begin, end = np.array(region[:2]), np.array(region[2:])
    # A point on the border of two regions belongs to the first of them alone.
    after = (shares > begin) | (begin == 0)
    return (after & (shares <= end)).all(axis=1)
