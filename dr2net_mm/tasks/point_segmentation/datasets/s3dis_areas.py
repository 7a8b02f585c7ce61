"""Prepared areas of S3DIS: one file an area, read in seconds instead of minutes."""

from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Tuple
from zipfile import BadZipFile

import numpy as np

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import DataFileError

from .cloud import Cloud
from .s3dis_text import CLASSES, object_files, read_object

FORMAT = 1
_ARRAYS = ('positions', 'colors', 'labels')


class PreparedArea(NamedTuple):
    """What became of the text files of an area.

    Attributes:
        path: The file.
        rooms: Number of its rooms.
        points: Number of its points.
        repairs: A sentence for every line that had to be repaired.
    """

    path: Path
    rooms: int
    points: int
    repairs: List[str]


def area_file(root: Path, area: int) -> Path:
    """Where the prepared file of an area lies."""
    return root / f'Area_{area}.npz'


def rooms_of(raw: Path, area: int) -> List[Path]:
    """Folders of the rooms of an area, in order of their names.

    Raises:
        DataFileError: If there is no such area, or no room in it.
    """
    folder = raw / f'Area_{area}'
    if not folder.is_dir():
        raise DataFileError(
            f'{folder} is no folder; give the folder that holds Area_1 to Area_6 of '
            'Stanford3dDataset_v1.2 or its aligned version'
        )
    rooms = sorted(room for room in folder.iterdir() if (room / 'Annotations').is_dir())
    if not rooms:
        raise DataFileError(
            f'{folder} has no rooms (office_1/Annotations/chair_1.txt, ...)'
        )
    return rooms


def prepare_area(
    raw: Path,
    area: int,
    out: Path,
    on_room: Callable[[], None] = lambda: None,
) -> PreparedArea:
    """Read the text files of an area and write them as one file.

    The smallest coordinate of each axis becomes 0.

    Args:
        raw: Folder of the areas.
        area: Number of the area.
        out: Folder to write to.
        on_room: Called for every room.

    Raises:
        DataFileError: If a file cannot be used.
    """
    rooms = rooms_of(raw, area)
    parts: List[Tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    repairs: List[str] = []
    for room in rooms:
        for path, label in object_files(room):
            points = read_object(path)
            repairs += points.repairs
            labels = np.full(len(points.positions), label, dtype=np.uint8)
            parts.append((points.positions, points.colors, labels))
        on_room()
    positions, colors, labels = (np.concatenate(column) for column in zip(*parts))
    positions -= positions.min(axis=0)
    target = area_file(out, area)
    with atomic_open(target) as file:
        np.savez(
            file,
            format=FORMAT,
            classes=np.array(CLASSES),
            positions=positions.astype(np.float32),
            colors=colors,
            labels=labels,
        )
    return PreparedArea(target, len(rooms), len(labels), repairs)


def load_area(root: Path, area: int, remedy: Optional[str] = None) -> Cloud:
    """Read a prepared area.

    Args:
        root: Folder of the prepared files.
        area: Number of the area.
        remedy: What to do where there is none.

    Raises:
        DataFileError: If there is no such file, or it cannot be used.
    """
    path = area_file(root, area)
    if not path.is_file():
        remedy = remedy or (
            f'make it with: python tools/data/s3dis.py RAW_FOLDER --out {root} '
            f'--areas {area}'
        )
        raise DataFileError(f'{path} is missing; {remedy}')
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in ('format', *_ARRAYS)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataFileError(
            f'{path} is no prepared area ({error}); delete it and run '
            'tools/data/s3dis.py again'
        ) from None
    if int(content['format']) != FORMAT:
        raise DataFileError(
            f'{path} has format {int(content["format"])}, this version reads {FORMAT}; '
            'delete it and run tools/data/s3dis.py again'
        )
    return Cloud(f'Area_{area}', *(content[name] for name in _ARRAYS))
