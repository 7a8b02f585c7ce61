"""Ground truth of a subset, as the evaluation of detections needs it."""

from collections import defaultdict
from typing import Dict, Optional, Set

import numpy as np

from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    all_labels,
    load_annotations,
    without_prefix,
)

ANY_CLASS = 'any class'


class DetectionTruth:
    """Annotated segments of a subset, by class and video.

    Args:
        ann_file: Annotations, in the format of ActivityNet-v1.3 or of mmaction's
            feature data sets.
        subset: The subset.
        blocked: Names of videos to leave out.
        class_agnostic: Whether to take all classes for one, ``ANY_CLASS``.
        remove_duplicates: Whether to leave out what repeats another annotation.

    Attributes:
        videos: Ids of the subset's videos, whether annotated or not.
        labels: Classes that any subset of the file has; None where it has no subsets,
            so that it does not tell all classes.
        by_label: ``{class: {video id: float64 [m, 2], in seconds}}``.

    Raises:
        DataFileError: If the file is missing or malformed or has no such videos.
    """

    def __init__(
        self,
        ann_file: str,
        subset: str,
        blocked: Set[str],
        class_agnostic: bool = False,
        remove_duplicates: bool = False,
    ) -> None:
        database = load_annotations(ann_file)
        self.ann_file, self.subset = ann_file, subset
        self.blocked = blocked | {without_prefix(name) for name in blocked}
        self.labels: Optional[Set[str]] = set(all_labels(database)) | {ANY_CLASS}
        if any(video.subset is None for video in database.values()):
            self.labels = None
        self.videos = {
            name
            for name, video in database.items()
            if video.belongs_to(subset) and name not in self.blocked
        }
        self._others = set(database) - self.videos
        if not self.videos:
            subsets = sorted({str(video.subset) for video in database.values()})
            raise DataFileError(
                f'{ann_file} has no videos in the subset {subset!r} that are not '
                f'blocked; its subsets are {", ".join(subsets)}'
            )
        found: Dict[str, Dict[str, list]] = defaultdict(lambda: defaultdict(list))
        for name in sorted(self.videos):
            actions = database[name].actions
            if remove_duplicates:
                actions = list(dict.fromkeys(actions))
            for action in actions:
                label = ANY_CLASS if class_agnostic else action.label
                found[label][name].append((action.start, action.end))
        self.by_label = {
            label: {name: np.array(s, dtype=np.float64) for name, s in videos.items()}
            for label, videos in found.items()
        }

    @property
    def annotated(self) -> Set[str]:
        """Ids of the videos that have annotations."""
        return {video for videos in self.by_label.values() for video in videos}

    def video_id(self, name: str) -> str:
        """Return the id of a video that a model names, with or without ``v_``.

        Returns:
            The id; an empty string for a video that is blocked.

        Raises:
            UserError: If the video is not in the subset.
        """
        known = name in self.videos or name in self._others
        video_id = name if known else without_prefix(name)
        if video_id in self.videos:
            return video_id
        if video_id in self.blocked:
            return ''
        where = 'not' if video_id not in self._others else 'in another subset, not'
        raise UserError(
            f'there are predictions for video {name!r}, which is {where} in the subset '
            f'{self.subset!r} of {self.ann_file}; give the data set and the metric the '
            'same ann_file and subset'
        )
