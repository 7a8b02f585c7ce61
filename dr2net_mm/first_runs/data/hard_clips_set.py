"""Write a set of hard spliced videos and its annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from .hard_clips import (
    SUBSETS,
    HardOptions,
    Scenery,
    Shot,
    class_names,
    cuts_of,
    plan_shot,
    plan_video,
    render,
    segments_of,
)
from .spliced_set import counts, database_entry, write_annotations, write_checked


def write_hard_set(
    sceneries: Sequence[Scenery],
    out: Path,
    options: HardOptions,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, int]:
    """Write the videos, the trimmed clips and their annotations.

    The files are those of :func:`.spliced_set.write_spliced_set`, for three subsets.

    Args:
        sceneries: films and photos; each subset has some of every class.
        out: a folder that exists.
        options: sizes and seed; the same seed gives the same videos.
        progress: is called after every file.

    Returns:
        Number of videos, segments and clips.

    Raises:
        DataFileError: if a file does not come back as it was written.
    """
    labels = class_names(sceneries)
    for folder in ('videos', 'clips'):
        (out / folder).mkdir()
    database: dict[str, dict] = {}
    clips: dict[str, list[str]] = {subset: [] for subset in SUBSETS}
    for number, subset in enumerate(SUBSETS):
        for index in range(options.videos[number]):
            rng = np.random.default_rng([options.seed, number, 0, index])
            shots = plan_video(sceneries, subset, options, rng)
            name = f'{subset}_{index:04d}'
            path = out / 'videos' / f'{name}.mp4'
            frames = _write(path, shots, sceneries, options)
            segments = segments_of(shots, sceneries)
            database[name] = database_entry(subset, frames, segments, options)
            progress()
        for index in range(options.clips[number] * len(labels)):
            rng = np.random.default_rng([options.seed, number, 1, index])
            label_number = index % len(labels)
            label = labels[label_number]
            length = options.clip_length
            shots = [plan_shot(sceneries, subset, label, length, rng)]
            path = out / 'clips' / f'{subset}_{label}_{index:04d}.mp4'
            _write(path, shots, sceneries, options)
            clips[subset].append(f'{path.name} {label_number}')
            progress()
    write_annotations(
        out,
        'hard spliced clips in the format of ActivityNet-v1.3',
        labels,
        database,
        clips,
    )
    return counts(database, clips)


def _write(
    path: Path,
    shots: Sequence[Shot],
    sceneries: Sequence[Scenery],
    options: HardOptions,
) -> int:
    """Write a video and return its number of frames."""
    frames = render(shots, sceneries, options)
    write_checked(path, frames, options.fps, cuts_of(shots))
    return len(frames)
