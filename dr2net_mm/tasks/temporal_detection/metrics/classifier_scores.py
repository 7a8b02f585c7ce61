"""Video-level class scores from a file."""

import json
from typing import List, Tuple

import numpy as np
from mmengine.fileio import get_text

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    ACTIVITYNET_PREFIX,
)


class ClassifierScores:
    """Best classes of each video, from an external classifier.

    The file is ``{"class": [names], "results": {video id: [a score for each name]}}``
    (``"classes"`` for ``"class"`` is read too), the format of the CUHK classifier's
    scores that published TAD results on ActivityNet multiply their proposals with.

    Args:
        path: The JSON file.
        top_k: Classes a video.

    Raises:
        DataFileError: If the file is missing, or not of this format.
        ValueError: If ``top_k`` is not from 1 to the number of classes.
    """

    def __init__(self, path: str, top_k: int = 2) -> None:
        self.path = path
        try:
            content = json.loads(get_text(path))
            names = content['class'] if 'class' in content else content['classes']
            self._scores = dict(content['results'])
        except FileNotFoundError:
            raise DataFileError(
                f'classifier_scores {path!r} does not exist; give a JSON file of '
                'video-level class scores, or class_agnostic=True to evaluate '
                'proposals without classes'
            ) from None
        except (KeyError, TypeError, ValueError) as error:
            raise DataFileError(
                f'classifier_scores {path!r} is not {{"class": [names], "results": '
                f'{{video id: [scores]}}}} ({type(error).__name__}: {error})'
            ) from None
        self.names = [str(name) for name in names]
        if not isinstance(top_k, int) or not 1 <= top_k <= len(self.names):
            raise ValueError(
                f'classifier_top_k is {top_k!r}; {path!r} has {len(self.names)} '
                'classes, so give an int from 1 to that'
            )
        self.top_k = top_k

    def best(self, video_id: str) -> List[Tuple[str, float]]:
        """Return the names and scores of the best classes of a video, best first.

        Raises:
            DataFileError: If the file has no usable scores for it.
        """
        scores = self._scores.get(
            video_id, self._scores.get(f'{ACTIVITYNET_PREFIX}{video_id}')
        )
        values = np.array([], dtype=np.float64)
        if scores is not None:
            try:
                values = np.array(scores, dtype=np.float64)
            except (TypeError, ValueError):
                pass
        if values.shape != (len(self.names),) or not np.isfinite(values).all():
            problem = 'no scores' if scores is None else 'unusable scores'
            raise DataFileError(
                f'classifier_scores {self.path!r} has {problem} for video '
                f'{video_id!r}; it needs a list of {len(self.names)} finite numbers'
            )
        order = np.argsort(-values, kind='stable')[: self.top_k]
        return [(self.names[i], float(values[i])) for i in order]
