"""Write a set of spliced videos with its annotations, and look whether one is whole.

Frames are numbered from 0; a segment of the frames ``[first, end)`` lasts from
``first / fps`` to ``end / fps`` seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Mapping, Sequence

import numpy as np

from dr2net_mm.atomic_file import atomic_open

from .hard_clips import HardOptions
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
            _write_piece(path, pieces, films, subset, options)
            frames = sum(piece.length for piece in pieces)
            segments = segments_of(pieces, films)
            database[name] = database_entry(subset, frames, segments, options)
            progress()
        for index in range(options.clips[number] * len(labels)):
            rng = np.random.default_rng([options.seed, number, 1, index])
            label_number = index % len(labels)
            label = labels[label_number]
            pieces = plan_clip(films, label, options, rng)
            path = out / 'clips' / f'{subset}_{label}_{index:04d}.mp4'
            _write_piece(path, pieces, films, subset, options)
            clips[subset].append(f'{path.name} {label_number}')
            progress()
    write_annotations(
        out, 'spliced clips in the format of ActivityNet-v1.3', labels, database, clips
    )
    return counts(database, clips)


def _write_piece(
    path: Path,
    pieces: Sequence[Piece],
    films: Sequence[Film],
    subset: str,
    options: SetOptions,
) -> None:
    frames = render(pieces, films, subset, options)
    cuts = np.cumsum([piece.length for piece in pieces])[:-1]
    write_checked(path, frames, options.fps, cuts.tolist())


def write_checked(
    path: Path, frames: np.ndarray, fps: float, cuts: Sequence[int]
) -> None:
    """Write a video and read it back.

    Raises:
        DataFileError: if it does not come back as it was written.
    """
    write_video(path, frames, fps)
    check_video(path, frames, fps, cuts)


def write_annotations(
    out: Path,
    version: str,
    labels: Sequence[str],
    database: Mapping[str, dict],
    clips: Mapping[str, Sequence[str]],
) -> None:
    """Write the text files of a set.

    Args:
        out: its folder.
        version: what ``annotations.json`` says of itself.
        labels: classes, the background last.
        database: entries by video.
        clips: lines of ``clips_<subset>.txt`` by subset.
    """
    for subset, lines in clips.items():
        _write_text(out / f'clips_{subset}.txt', '\n'.join(lines))
    _write_text(out / 'classes.txt', '\n'.join(labels))
    content = dict(
        version=version, taxonomy=_taxonomy(labels[:-1]), database=dict(database)
    )
    _write_text(out / 'annotations.json', json.dumps(content, indent=1))


def counts(
    database: Mapping[str, dict], clips: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Count the videos, segments and clips of a set."""
    return dict(
        videos=len(database),
        segments=sum(len(entry['annotations']) for entry in database.values()),
        clips=sum(map(len, clips.values())),
    )


def database_entry(
    subset: str,
    frames: int,
    segments: Sequence[tuple[int, int, str]],
    options: SetOptions | HardOptions,
) -> dict:
    """Describe a video as ActivityNet does, from its segments in frames."""
    fps = options.fps
    return dict(
        subset=subset,
        duration=frames / fps,
        resolution=f'{options.width}x{options.height}',
        url='',
        annotations=[
            dict(segment=[first / fps, end / fps], label=label)
            for first, end, label in segments
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


def number_of_files(options: SetOptions | HardOptions, labels: int) -> int:
    """Count the videos and clips of a set with ``labels`` classes."""
    return sum(options.videos) + labels * sum(options.clips)


def missing_files(out: Path, subsets: Sequence[str] = SUBSETS) -> list[str]:
    """Return the names of files of a set that are not there, or empty."""
    names = []
    try:
        database = json.loads((out / 'annotations.json').read_text())['database']
        names += [f'videos/{name}.mp4' for name in database]
        for subset in subsets:
            lines = (out / f'clips_{subset}.txt').read_text().splitlines()
            names += [f'clips/{line.split()[0]}' for line in lines]
        names.append('classes.txt')
    except (OSError, ValueError, KeyError, IndexError):
        return ['annotations.json or clips_*.txt']
    return [name for name in names if not _has_content(out / name)]


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
