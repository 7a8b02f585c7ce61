"""Write a set of spliced videos with its annotations, and look whether one is whole.

Frames are numbered from 0; a segment of the frames ``[first, end)`` lasts from
``first / fps`` to ``end / fps`` seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from dr2net_mm.atomic_file import atomic_open

from .spliced_clips import (
    SUBSETS,
    Film,
    Piece,
    SetOptions,
    class_names,
    plan_clip,
    plan_video,
    render,
    segments_of,
)
from .video_files import check_video, write_video


def write_spliced_set(
    films: Sequence[Film],
    out: Path,
    options: SetOptions,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, int]:
    """Write the videos, the trimmed clips and their annotations.

    ``annotations.json`` is in the format of ActivityNet-v1.3 (its keys are the names of
    the files), ``clips_<subset>.txt`` in that of mmaction's ``VideoDataset``, with the
    classes numbered as in ``classes.txt``.

    Args:
        films: backgrounds and classes, all of one picture size.
        out: a folder that exists.
        options: sizes and seed; the same seed gives the same pieces.
        progress: is called after every file.

    Returns:
        Number of videos, segments and clips.

    Raises:
        DataFileError: if a file does not come back as it was written.
    """
    labels = class_names(films)
    for folder in ('videos', 'clips'):
        (out / folder).mkdir()
    database: dict[str, dict] = {}
    clips: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for number, subset in enumerate(SUBSETS):
        for index in range(options.videos[number]):
            rng = np.random.default_rng([options.seed, number, 0, index])
            label = labels[index % (len(labels) - 1)]
            pieces = plan_video(films, label, options, rng)
            name = f'{subset}_{index:04d}'
            path = out / 'videos' / f'{name}.mp4'
            _write_checked(path, pieces, films, subset, options)
            database[name] = _database_entry(pieces, films, subset, options)
            progress()
        for index in range(options.clips[number] * len(labels)):
            rng = np.random.default_rng([options.seed, number, 1, index])
            label_number = index % len(labels)
            label = labels[label_number]
            pieces = plan_clip(films, label, options, rng)
            path = out / 'clips' / f'{subset}_{label}_{index:04d}.mp4'
            _write_checked(path, pieces, films, subset, options)
            clips[subset].append(f'{path.name} {label_number}')
            progress()
    for subset in SUBSETS:
        _write_text(out / f'clips_{subset}.txt', '\n'.join(clips[subset]))
    _write_text(out / 'classes.txt', '\n'.join(labels))
    _write_text(
        out / 'annotations.json',
        json.dumps(
            dict(
                version='spliced clips in the format of ActivityNet-v1.3',
                taxonomy=_taxonomy(labels[:-1]),
                database=database,
            ),
            indent=1,
        ),
    )
    return dict(
        videos=len(database),
        segments=sum(len(entry['annotations']) for entry in database.values()),
        clips=sum(map(len, clips.values())),
    )


def _write_checked(
    path: Path,
    pieces: Sequence[Piece],
    films: Sequence[Film],
    subset: str,
    options: SetOptions,
) -> None:
    frames = render(pieces, films, subset, options)
    write_video(path, frames, options.fps)
    cuts = np.cumsum([piece.length for piece in pieces])[:-1]
    check_video(path, frames, options.fps, cuts.tolist())


def _database_entry(
    pieces: Sequence[Piece], films: Sequence[Film], subset: str, options: SetOptions
) -> dict:
    fps = options.fps
    frames = sum(piece.length for piece in pieces)
    return dict(
        subset=subset,
        duration=frames / fps,
        resolution=f'{options.width}x{options.height}',
        url='',
        annotations=[
            dict(segment=[first / fps, end / fps], label=label)
            for first, end, label in segments_of(pieces, films)
        ],
    )


def _taxonomy(labels: Sequence[str]) -> list[dict]:
    root = dict(nodeId=0, nodeName='Root', parentId=None, parentName=None)
    leaves = [
        dict(nodeId=number, nodeName=label, parentId=0, parentName='Root')
        for number, label in enumerate(labels, start=1)
    ]
    return [root, *leaves]


def _write_text(path: Path, text: str) -> None:
    with atomic_open(path, 'w', 'utf-8') as file:
        file.write(text + '\n')


def number_of_files(options: SetOptions, labels: int) -> int:
    """Count the videos and clips of a set with ``labels`` classes."""
    return sum(options.videos) + labels * sum(options.clips)


def missing_files(out: Path) -> list[str]:
    """Return the names of files of a set that are not there, or empty."""
    names = []
    try:
        database = json.loads((out / 'annotations.json').read_text())['database']
        names += [f'videos/{name}.mp4' for name in database]
        for subset in SUBSETS:
            lines = (out / f'clips_{subset}.txt').read_text().splitlines()
            names += [f'clips/{line.split()[0]}' for line in lines]
        names.append('classes.txt')
    except (OSError, ValueError, KeyError, IndexError):
        return ['annotations.json or clips_*.txt']
    return [name for name in names if not _has_content(out / name)]


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
