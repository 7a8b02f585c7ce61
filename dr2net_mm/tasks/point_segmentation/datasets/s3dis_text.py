"""S3DIS as it is published: a text file for every object of a room."""

import re
import warnings
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from dr2net_mm.errors import DataFileError

CLASSES = (
    'ceiling', 'floor', 'wall', 'beam', 'column', 'window', 'door', 'chair', 'table',
    'bookcase', 'sofa', 'board', 'clutter',
)  # fmt: skip
AREAS = (1, 2, 3, 4, 5, 6)

#: Class names of files that count as another class.
RENAMED = {'stairs': 'clutter'}

#: Bytes that no number is written with, apart from white space.
_CONTROL = re.compile(rb'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')

_COLUMNS = 'x y z r g b'


class ObjectPoints(NamedTuple):
    """Points of one object.

    Attributes:
        positions: float64 [n, 3], meters.
        colors: uint8 [n, 3].
        repairs: A sentence for every line that had to be repaired.
    """

    positions: np.ndarray
    colors: np.ndarray
    repairs: List[str]


def object_files(room: Path) -> List[Tuple[Path, int]]:
    """Object files of a room and their classes, in order of their names.

    The class is what stands in front of the number: ``chair_3.txt``. Files that do not
    end in ``.txt``, such as those that a desktop leaves, are passed over.

    Raises:
        DataFileError: If there is none, or one is of an unknown class.
    """
    folder = room / 'Annotations'
    files = sorted(
        path for path in folder.glob('*.txt') if not path.name.startswith('.')
    )
    if not files:
        raise DataFileError(
            f'{folder} has no object files (chair_1.txt, ...); take the rooms as they '
            'are in Stanford3dDataset_v1.2.zip, or leave the room out'
        )
    found = []
    for path in files:
        name = path.stem.split('_')[0]
        name = RENAMED.get(name, name)
        if name not in CLASSES:
            raise DataFileError(
                f'{path}: {name!r} is none of the classes {", ".join(CLASSES)}; rename '
                'the file or take it out of the folder'
            )
        found.append((path, CLASSES.index(name)))
    return found


def read_object(path: Path) -> ObjectPoints:
    """Read an object file: ``x y z r g b`` on every line.

    A stray control byte in a line is taken for the space that it replaced, as in
    ``Area_5/hallway_6/Annotations/ceiling_1.txt``, if the line then has six numbers.

    Raises:
        DataFileError: If any other line is not six numbers, naming file and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataFileError(f'{path} cannot be read: {error.strerror}') from error
    repairs: List[str] = []
    if _CONTROL.search(content):
        content, repairs = _without_control_bytes(path, content)
    table = _read_at_once(content)
    if table is None:
        table = _read_lines(path, content)
    return ObjectPoints(table[:, :3], table[:, 3:].astype(np.uint8), repairs)


def _read_at_once(content: bytes) -> Optional[np.ndarray]:
    """Table [n, 6] of a file in which all is well; None of any other.

    Reading line by line takes ten times as long.
    """
    if not _six_words_a_line(content):
        return None
    with warnings.catch_warnings():
        # That it met something other than a number; fewer numbers then come back.
        warnings.simplefilter('ignore', DeprecationWarning)
        try:
            values = np.fromstring(content, dtype=np.float64, sep=' ')
        except ValueError:
            return None
    words = 6 * content.rstrip().count(b'\n') + 6
    if len(values) != words:
        return None
    table = values.reshape(-1, 6)
    return table if _plausible(table) else None


def _six_words_a_line(content: bytes) -> bool:
    """Whether every line has six words, and there is at least one."""
    content = content.rstrip() + b'\n'
    characters = np.frombuffer(content, dtype=np.uint8)
    blank = characters <= ord(' ')
    begins = ~blank
    begins[1:] &= blank[:-1]
    ends = np.flatnonzero(characters == ord('\n'))
    words = np.searchsorted(np.flatnonzero(begins), ends)
    return bool(np.array_equal(words, 6 * np.arange(1, len(ends) + 1)))


def _plausible(table: np.ndarray) -> bool:
    """Whether all coordinates are finite and all colors whole and within a byte."""
    colors = table[:, 3:]
    whole = (colors >= 0) & (colors <= 255) & (colors == np.floor(colors))
    return bool(np.isfinite(table).all() and whole.all())


def _without_control_bytes(path: Path, content: bytes) -> Tuple[bytes, List[str]]:
    lines, repairs = content.split(b'\n'), []
    for number, line in enumerate(lines, start=1):
        if not _CONTROL.search(line):
            continue
        repaired = _CONTROL.sub(b' ', line)
        if _row(repaired) is None:
            raise _unreadable(path, number, line)
        lines[number - 1] = repaired
        repairs.append(f'{path}, line {number}: {line!r} is read as {repaired!r}')
    return b'\n'.join(lines), repairs


def _read_lines(path: Path, content: bytes) -> np.ndarray:
    """Read line by line; empty lines are passed over."""
    rows = []
    for number, line in enumerate(content.split(b'\n'), start=1):
        if not line.strip():
            continue
        row = _row(line)
        if row is None:
            raise _unreadable(path, number, line)
        rows.append(row)
    if not rows:
        raise DataFileError(f'{path} holds no points; take it out of the folder')
    return np.array(rows)


def _row(line: bytes) -> Optional[List[float]]:
    """Six numbers of a line; None where it is anything else."""
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        return None
    fits = len(row) == 6 and _plausible(np.array([row]))
    return row if fits else None


def _unreadable(path: Path, number: int, line: bytes) -> DataFileError:
    shown = line[:60].decode('utf-8', 'backslashreplace')
    return DataFileError(
        f'{path}, line {number} is {shown!r}, not {_COLUMNS} (finite meters, colors 0 '
        'to 255); correct or delete the line'
    )
