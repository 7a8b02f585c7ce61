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
from .spliced_set import Rendered, write_set


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

    def rendered(shots: Sequence[Shot]) -> Rendered:
        frames = render(shots, sceneries, options)
        return Rendered(frames, cuts_of(shots), segments_of(shots, sceneries))

    def video(subset: str, index: int, rng: np.random.Generator) -> Rendered:
        return rendered(plan_video(sceneries, subset, options, rng))

    def clip(subset: str, label: str, rng: np.random.Generator) -> Rendered:
        return rendered([plan_shot(sceneries, subset, label, options.clip_length, rng)])

    version = 'hard spliced clips in the format of ActivityNet-v1.3'
    return write_set(out, version, labels, SUBSETS, options, video, clip, progress)
