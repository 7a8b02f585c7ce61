"""Write a set of spliced videos with its annotations, and look whether one is whole.

Frames are numbered from 0; a segment of the frames ``[first, end)`` lasts from
``first / fps`` to ``end / fps`` seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

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

    def rendered(pieces: Sequence[Piece], subset: str) -> Rendered:
        cuts = np.cumsum([piece.length for piece in pieces])[:-1].tolist()
        frames = render(pieces, films, subset, options)
        return Rendered(frames, cuts, segments_of(pieces, films))

    def video(subset: str, index: int, rng: np.random.Generator) -> Rendered:
        label = labels[index % (len(labels) - 1)]
        return rendered(plan_video(films, label, options, rng), subset)

    def clip(subset: str, label: str, rng: np.random.Generator) -> Rendered:
        return rendered(plan_clip(films, label, options, rng), subset)

    version = 'spliced clips in the format of ActivityNet-v1.3'
    return write_set(out, version, labels, SUBSETS, options, video, clip, progress)


class Rendered(NamedTuple):
    """A video before it is written.

    Attributes:
        frames: Pictures.
        cuts: Frames that begin another picture.
        segments: First frame, end and class of what is annotated.
    """

    frames: np.ndarray
    cuts: Sequence[int]
    segments: Sequence[tuple[int, int, str]]


def write_set(
    out: Path,
    version: str,
    labels: Sequence[str],
    subsets: Sequence[str],
    options: SetOptions | HardOptions,
    video: Callable[[str, int, np.random.Generator], Rendered],
    clip: Callable[[str, str, np.random.Generator], Rendered],
    progress: Callable[[], object],
) -> dict[str, int]:
    """Write the videos and clips of all subsets, and the annotations.

    Args:
        out: a folder that exists.
        version: what ``annotations.json`` says of itself.
        labels: classes, the background last.
        subsets: their names, in the order of the numbers in the options.
        options: sizes and seed; the same seed gives the same videos.
        video: renders a video of a subset and number.
        clip: renders a clip of a subset and class.
        progress: is called after every file.

    Returns:
        Number of videos, segments and clips.

    Raises:
        DataFileError: if a file does not come back as it was written.
    """
    for folder in ('videos', 'clips'):
        (out / folder).mkdir()
    database: dict[str, dict] = {}
    clips: dict[str, list[str]] = {subset: [] for subset in subsets}
    for number, subset in enumerate(subsets):
        for index in range(options.videos[number]):
            rng = np.random.default_rng([options.seed, number, 0, index])
            made = video(subset, index, rng)
            name = f'{subset}_{index:04d}'
            _write_checked(out / 'videos' / f'{name}.mp4', made, options.fps)
            database[name] = _database_entry(subset, made, options)
            progress()
        for index in range(options.clips[number] * len(labels)):
            rng = np.random.default_rng([options.seed, number, 1, index])
            label_number = index % len(labels)
            label = labels[label_number]
            path = out / 'clips' / f'{subset}_{label}_{index:04d}.mp4'
            _write_checked(path, clip(subset, label, rng), options.fps)
            clips[subset].append(f'{path.name} {label_number}')
            progress()
    _write_annotations(out, version, labels, database, clips)
    return dict(
        videos=len(database),
        segments=sum(len(entry['annotations']) for entry in database.values()),
        clips=sum(map(len, clips.values())),
    )


def _write_checked(path: Path, made: Rendered, fps: float) -> None:
    """Write a video and read it back.

    Raises:
        DataFileError: if it does not come back as it was written.
    """
    write_video(path, made.frames, fps)
    check_video(path, made.frames, fps, made.cuts)


def _write_annotations(
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


def _database_entry(
    subset: str, made: Rendered, options: SetOptions | HardOptions
) -> dict:
    """Describe a video as ActivityNet does, from its segments in frames."""
    fps = options.fps
    return dict(
        subset=subset,
        duration=len(made.frames) / fps,
        resolution=f'{options.width}x{options.height}',
        url='',
        annotations=[
            dict(segment=[first / fps, end / fps], label=label)
            for first, end, label in made.segments
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
