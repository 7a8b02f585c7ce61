"""Annotations of temporal action detection: reading them, and checking each segment.

Two formats are read. ActivityNet-v1.3's, in which THUMOS-14 can be written too
(``tools/data/thumos14_to_anet.py``)::

    {"database": {"--1DO2V4K74": {
        "subset": "training", "duration": 211.53,
        "annotations": [{"segment": [30.03, 205.23], "label": "Rock climbing"}]}}}

and the one of mmaction's feature data sets, one file a subset::

    {"v_--1DO2V4K74": {
        "duration_second": 211.53, "duration_frame": 6337, "feature_frame": 6336,
        "annotations": [{"segment": [30.03, 205.23], "label": "Rock climbing"}]}}
"""

import json
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from mmengine.fileio import get_text

from dr2net_mm.errors import DataFileError

# ActivityNet's files are named by this and the id, and mmaction names videos so.
ACTIVITYNET_PREFIX = 'v_'


class Action(NamedTuple):
    """An annotated segment, in seconds."""

    start: float
    end: float
    label: str


class AnnotatedVideo(NamedTuple):
    """Annotations of one video; ``subset`` is None where the file has no subsets."""

    video_id: str
    duration: float
    subset: Optional[str]
    actions: List[Action]

    def belongs_to(self, subset: str) -> bool:
        """Return whether the video is part of a subset."""
        return self.subset is None or self.subset == subset


def load_annotations(
    path: str, backend_args: Optional[dict] = None
) -> Dict[str, AnnotatedVideo]:
    """Read an annotation file of either format.

    Args:
        path: The JSON file.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        ``{video id: its annotations}``, ids without ActivityNet's ``v_``.

    Raises:
        DataFileError: If the file is not of one of the formats, if a video stands in
            it twice, or if labels differ in spaces only.
    """
    content = _load_json(path, backend_args)
    if not isinstance(content, dict) or not content:
        raise DataFileError(
            f'{path} holds no videos; expected {{"database": {{...}}}} as in '
            'ActivityNet-v1.3, or a video to a key as in mmaction'
        )
    flat = 'database' not in content
    database = content if flat else content['database']
    if not isinstance(database, dict) or not database:
        raise DataFileError(
            f'{path} has no videos in its "database"; is it the right ann_file?'
        )
    _check_ids(path, database)
    videos = {}
    for name, entry in database.items():
        key = without_prefix(name) if flat else name
        try:
            videos[key] = _parse_video(key, entry, flat)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataFileError(
                f'{path}: video {name!r} is malformed ({type(error).__name__}: '
                f'{error}); it needs a duration in seconds'
                f'{"" if flat else ", a subset"} and annotations, each with a '
                'segment [start, end] in seconds and a label'
            ) from None
    _check_texts(path, videos)
    return videos


def load_video_names(
    source: Union[str, Sequence[str], None], backend_args: Optional[dict] = None
) -> Set[str]:
    """Return the names of videos, such as those that an evaluation leaves out.

    Args:
        source: The names; or a file with them, a JSON list or one name a line.
        backend_args: Arguments of MMEngine's file backend.

    Raises:
        DataFileError: If the file is missing or a JSON file without a list.
    """
    if source is None:
        return set()
    if not isinstance(source, str):
        return {str(name) for name in source}
    if source.endswith('.json'):
        names = _load_json(source, backend_args)
        if not isinstance(names, list):
            raise DataFileError(
                f'{source} holds a {type(names).__name__}, not a list of video names'
            )
        return {str(name) for name in names}
    text = _read(source, backend_args)
    return {line.strip() for line in text.splitlines() if line.strip()}


def without_prefix(name: str) -> str:
    """Strip ActivityNet's ``v_`` off a video's name."""
    if name.startswith(ACTIVITYNET_PREFIX):
        return name[len(ACTIVITYNET_PREFIX) :]
    return name


def all_labels(videos: Dict[str, AnnotatedVideo]) -> List[str]:
    """Return every class that is annotated in any subset, sorted."""
    return sorted({a.label for video in videos.values() for a in video.actions})


def check_actions(
    video: AnnotatedVideo, tolerance: float
) -> Tuple[List[Action], List[str]]:
    """Sort the segments of a video into those that can be learnt and those that cannot.

    Args:
        video: Annotations of a video.
        tolerance: Seconds by which a segment may leave the video. Such a segment is
            cut to the video; one that leaves it by more is wrong.

    Returns:
        The usable segments, all within the video, and a line for each other one.

    Raises:
        DataFileError: If the duration of the video is not a positive number.
    """
    if not (math.isfinite(video.duration) and video.duration > 0):
        raise DataFileError(
            f'video {video.video_id!r} has a duration of {video.duration} s; correct '
            'it in the annotations, or put the video on the list of blocked_videos'
        )
    usable, problems = [], []
    for action in video.actions:
        problem = _problem(action, video.duration, tolerance)
        start, end = max(action.start, 0.0), min(action.end, video.duration)
        if problem is None and start >= end:
            problem = 'lies outside the video'
        if problem is None:
            usable.append(Action(start, end, action.label))
        else:
            problems.append(
                f'segment [{action.start}, {action.end}] of class {action.label!r} in '
                f'video {video.video_id!r} ({video.duration} s) {problem}'
            )
    return usable, problems


def _problem(action: Action, duration: float, tolerance: float) -> Optional[str]:
    if not (math.isfinite(action.start) and math.isfinite(action.end)):
        return 'is not a pair of finite numbers'
    if action.start >= action.end:
        return 'ends before it starts' if action.start > action.end else 'is empty'
    if action.start < -tolerance:
        return f'starts more than {tolerance} s before the video'
    if action.end > duration + tolerance:
        return f'ends more than {tolerance} s after the video'
    return None


def summarize(names: Sequence[Any], shown: int = 3) -> str:
    """Name the first few of a collection, and count the others."""
    listed = ', '.join(repr(name) for name in list(names)[:shown])
    rest = len(names) - shown
    return f'{listed} and {rest} more' if rest > 0 else listed


def _check_ids(path: str, database: Dict[str, Any]) -> None:
    """Refuse videos that stand in the file with and without ActivityNet's ``v_``."""
    both = [name for name in database if f'{ACTIVITYNET_PREFIX}{name}' in database]
    if both:
        subsets = [
            str(entry.get('subset')) if isinstance(entry, dict) else '?'
            for entry in (database[both[0]], database[ACTIVITYNET_PREFIX + both[0]])
        ]
        where = f' (subsets {" and ".join(subsets)})' if subsets != ['None'] * 2 else ''
        raise DataFileError(
            f'{path}: {len(both)} videos stand in it twice, with and without '
            f'{ACTIVITYNET_PREFIX!r}: {summarize(both)}{where}. Both are one file, '
            'which would count twice, or be trained on and tested too; keep one of each'
        )


def _check_texts(path: str, videos: Dict[str, AnnotatedVideo]) -> None:
    """Refuse labels that are one class but for spaces, and subsets with spaces."""
    labels = set(all_labels(videos))
    padded = {x for x in labels if x != x.strip() and x.strip() in labels}
    ids = [v.video_id for v in videos.values() if padded & {a.label for a in v.actions}]
    if padded:
        raise DataFileError(
            f'{path}: {summarize(sorted(padded))} have spaces around the name of '
            f'another class, and would be classes of their own; in the videos '
            f'{summarize(ids)}. Remove the spaces'
        )
    for video in videos.values():
        if video.subset is not None and video.subset != video.subset.strip():
            raise DataFileError(
                f'{path}: video {video.video_id!r} is in the subset {video.subset!r}, '
                'with spaces, and would be left out; remove them'
            )


def _parse_video(name: str, entry: Dict[str, Any], flat: bool) -> AnnotatedVideo:
    duration = float(entry['duration_second' if flat else 'duration'])
    subset = None if flat else str(entry['subset'])
    actions = []
    for annotation in entry['annotations']:
        start, end = annotation['segment']
        actions.append(Action(float(start), float(end), str(annotation['label'])))
    return AnnotatedVideo(name, duration, subset, actions)


def _read(path: str, backend_args: Optional[dict]) -> str:
    try:
        return get_text(path, backend_args=backend_args)
    except FileNotFoundError:
        raise DataFileError(
            f'{path} does not exist; check data_root, ann_file and the lists of videos '
            'in the config'
        ) from None


def _load_json(path: str, backend_args: Optional[dict]) -> Any:
    twice: List[str] = []

    def collect(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        items = dict(pairs)
        if len(items) < len(pairs):
            # JSON keeps the last silently; of entries, such as videos, that is a loss.
            entries = [key for key, value in pairs if isinstance(value, dict)]
            twice.extend(key for key in items if entries.count(key) > 1)
        return items

    try:
        content = json.loads(_read(path, backend_args), object_pairs_hook=collect)
    except ValueError as error:
        raise DataFileError(
            f'{path} is not a JSON file: {error}; download or export it again'
        ) from None
    if twice:
        raise DataFileError(
            f'{path}: {len(twice)} videos stand in it more than once: '
            f'{summarize(twice)}. All but the last entry would be lost, with their '
            'subset and segments; merge or remove them'
        )
    return content
