"""Annotations of THUMOS-14 in the format of ActivityNet-v1.3."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Tuple

from dr2net_mm.errors import DataFileError

from .temporal_annotations import Action, summarize

CLASSES = (
    'BaseballPitch',
    'BasketballDunk',
    'Billiards',
    'CleanAndJerk',
    'CliffDiving',
    'CricketBowling',
    'CricketShot',
    'Diving',
    'FrisbeeCatch',
    'GolfSwing',
    'HammerThrow',
    'HighJump',
    'JavelinThrow',
    'LongJump',
    'PoleVault',
    'Shotput',
    'SoccerPenalty',
    'TennisSwing',
    'ThrowDiscus',
    'VolleyballSpiking',
)
AMBIGUOUS = 'Ambiguous'
# What G-TAD, VSGN, ActionFormer and OpenTAD leave out of the test videos, for its wrong
# annotations; the other one of theirs, video_test_0001292, has ambiguous ones only.
WRONG_VIDEOS = ('video_test_0000270',)
# A split of the challenge: the ending of its files, and the subset it becomes, because
# detectors are trained on the validation videos.
SPLITS = {'validation': ('val', 'training'), 'test': ('test', 'validation')}

_LINE = re.compile(r'(\S+)\s+(\d+(?:\.\d*)?)\s+(\d+(?:\.\d*)?)')


class Clip(NamedTuple):
    """Length of a video file."""

    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.fps


def read_split(folder: Path, split: str) -> Dict[str, List[Action]]:
    """Read the files of a split: one a class, a line ``VIDEO START END`` a segment.

    Args:
        folder: Holds ``BaseballPitch_val.txt`` and so on, or ``..._test.txt``.
        split: ``'validation'`` or ``'test'``.

    Returns:
        Segments of each video, in seconds; ambiguous ones have the label
        ``AMBIGUOUS``.

    Raises:
        DataFileError: If a class has no file, a file has no known class, or a line is
            not of this form.
    """
    ending = SPLITS[split][0]
    files = {path.stem: path for path in sorted(folder.glob(f'*_{ending}.txt'))}
    wanted = {f'{label}_{ending}': label for label in (*CLASSES, AMBIGUOUS)}
    missing = [f'{label}_{ending}.txt' for label in CLASSES]
    missing = [name for name in missing if name[: -len('.txt')] not in files]
    if missing:
        raise DataFileError(
            f'{folder} lacks {len(missing)} of the {len(CLASSES)} annotation files of '
            f'the THUMOS-14 {split} split: {summarize(missing)}'
        )
    unknown = sorted(set(files) - set(wanted))
    if unknown:
        raise DataFileError(
            f'{folder} has files of classes that THUMOS-14 does not have: '
            f'{summarize(unknown)}'
        )
    actions: Dict[str, List[Action]] = defaultdict(list)
    for stem, path in files.items():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise DataFileError(
                    f'{path}, line {number}: {line.strip()!r} is not "VIDEO START END"'
                )
            video, start, end = match.groups()
            actions[video].append(Action(float(start), float(end), wanted[stem]))
    return dict(actions)


def to_activitynet(
    splits: Dict[str, Dict[str, List[Action]]],
    clip_of: Callable[[str], Clip],
    excluded: Tuple[str, ...] = WRONG_VIDEOS,
) -> Tuple[dict, Dict[str, int]]:
    """Put splits together as ActivityNet-v1.3 does.

    Ambiguous segments are not annotations: they stand under ``ambiguous`` of their
    video, and a video that has no other segments is left out. A dive from a cliff is
    annotated both as ``CliffDiving`` and as ``Diving``, as in the original.

    Args:
        splits: What :func:`read_split` returns, for each split.
        clip_of: Length of the file of a video.
        excluded: Videos to leave out.

    Returns:
        The content of the file, and counts of what is in it and what is not.
    """
    database = {}
    counts = dict(
        videos=0, segments=0, ambiguous=0, only_ambiguous=0, excluded=0, reversed=0
    )
    for split, videos in splits.items():
        for video in sorted(videos):
            if video in excluded:
                counts['excluded'] += 1
                continue
            clear = [a for a in videos[video] if a.label != AMBIGUOUS]
            ambiguous = [a for a in videos[video] if a.label == AMBIGUOUS]
            counts['ambiguous'] += len(ambiguous)
            if not clear:
                counts['only_ambiguous'] += 1
                continue
            counts['videos'] += 1
            counts['segments'] += len(clear)
            counts['reversed'] += sum(a.start >= a.end for a in clear)
            clip = clip_of(video)
            database[video] = dict(
                subset=SPLITS[split][1],
                duration=round(clip.seconds, 3),
                frames=clip.frames,
                fps=clip.fps,
                annotations=[
                    dict(segment=[a.start, a.end], label=a.label) for a in sorted(clear)
                ],
                ambiguous=[[a.start, a.end] for a in sorted(ambiguous)],
            )
    return dict(version='THUMOS-14', taxonomy=[], database=database), counts
