"""The files of A2D-Sentences: lists of videos and sentences, and instance masks."""

import csv
import os.path as osp
from typing import Dict, List, NamedTuple

import numpy as np

from dr2net_mm.errors import DataFileError

from .sentences import normalized

#: Video that other projects leave out: its masks do not fit its frames.
UNUSABLE_VIDEO = 'e7Kjy13woXg'
_COLUMNS = 9
_TRAIN, _TEST = '0', '1'
SUBSETS = {'train': _TRAIN, 'test': _TEST}


class Sentence(NamedTuple):
    """A row of ``a2d_annotation.txt``.

    Attributes:
        row: Number of the row, from 0 below the header.
        video: Id of the video.
        instance: Number of the instance that the text means.
        text: The sentence.
    """

    row: int
    video: str
    instance: int
    text: str


class Instances(NamedTuple):
    """Annotation of one frame.

    Attributes:
        ids: Numbers of the instances, [n].
        masks: bool [n, H, W].
    """

    ids: np.ndarray
    masks: np.ndarray


def read_video_subsets(path: str) -> Dict[str, str]:
    """Read the subset, ``'0'`` or ``'1'``, of every video of ``videoset.csv``.

    Raises:
        DataFileError: If the file is missing or a line has other columns.
    """
    subsets: Dict[str, str] = {}
    for number, row in enumerate(_rows(path), start=1):
        if len(row) != _COLUMNS or row[-1] not in (_TRAIN, _TEST):
            raise DataFileError(
                f'{path}, line {number}: {",".join(row)[:60]!r} has not the nine '
                'columns vid,label,start,end,height,width,frames,annotated,subset '
                'with subset 0 or 1'
            )
        subsets[row[0]] = row[-1]
    return subsets


def read_missed_videos(path: str) -> List[str]:
    """Read ids of the videos that have no sentences; an empty list without the file."""
    if not osp.exists(path):
        return []
    return [row[0].strip() for row in _rows(path) if row and row[0].strip()]


def read_sentences(path: str) -> List[Sentence]:
    """Read the sentences of ``a2d_annotation.txt``.

    One row of the published file names the instance ``1 (copy)``; it repeats another
    row and is left out.

    Raises:
        DataFileError: If the file is missing or a line has other columns.
    """
    rows = _rows(path)
    if not rows or [cell.strip() for cell in rows[0]] != [
        'video_id',
        'instance_id',
        'query',
    ]:
        raise DataFileError(
            f'{path} does not begin with the header video_id,instance_id,query'
        )
    sentences = []
    for index, row in enumerate(rows[1:]):
        if len(row) == 3 and row[1].strip().endswith('(copy)'):
            continue
        if len(row) != 3 or not row[1].strip().isdigit():
            raise DataFileError(
                f'{path}, line {index + 2}: {",".join(row)[:60]!r} has not the three '
                'columns video_id,instance_id,query with a whole instance_id; commas '
                'in a sentence need quotes around it'
            )
        text = normalized(row[2])
        sentences.append(Sentence(index, row[0].strip(), int(row[1]), text))
    return sentences


def _rows(path: str) -> List[List[str]]:
    try:
        with open(path, encoding='utf-8', newline='') as file:
            return [row for row in csv.reader(file) if row]
    except FileNotFoundError:
        raise DataFileError(
            f'{path} does not exist; set data_root of the data set to the folder that '
            'holds Release and text_annotations'
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataFileError(f'{path} is no readable table ({error})') from None


def read_instance_ids(path: str) -> np.ndarray:
    """Read the numbers of the instances of an annotation file, [n].

    Raises:
        DataFileError: If the file is damaged.
    """
    return _read_h5(path, masks=False).ids


def read_instances(path: str) -> Instances:
    """Read numbers and masks of the instances of an annotation file.

    MATLAB stored them: ``reMask`` is [n, W, H], or [W, H] for a single instance.

    Raises:
        DataFileError: If the file is damaged or its keys do not fit each other.
    """
    return _read_h5(path, masks=True)


def _read_h5(path: str, masks: bool) -> Instances:
    import h5py

    try:
        with h5py.File(path, 'r') as file:
            ids = np.asarray(file['instance']).astype(np.int64).reshape(-1)
            if not masks:
                return Instances(ids, np.zeros((len(ids), 0, 0), bool))
            stored = np.asarray(file['reMask'])
    except (OSError, KeyError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise DataFileError(
            f'{path} is no annotation of A2D ({reason}): unpack it again'
        ) from None
    if stored.ndim == 2:
        stored = stored[None]
    if stored.ndim != 3 or len(stored) != len(ids):
        raise DataFileError(
            f'{path} has {len(ids)} instances and masks of the shape '
            f'{list(stored.shape)}; [n, W, H], or [W, H] for one, is expected'
        )
    return Instances(ids, stored.transpose(0, 2, 1) > 0)
