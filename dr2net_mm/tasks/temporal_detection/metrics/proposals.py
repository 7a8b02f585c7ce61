"""Proposals of a localizer, as arrays."""

from typing import NamedTuple

import numpy as np

from dr2net_mm.errors import UserError

from .detection_ap import Detections


class Proposals(NamedTuple):
    """Predictions for a video: float64 [n, 2] in seconds, float64 [n], names [n].

    A proposal of a localizer without classes has the name None.
    """

    segments: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def of_class(self, label: str) -> Detections:
        """Return the predictions of one class."""
        chosen = self.labels == label
        return Detections(self.segments[chosen], self.scores[chosen])


def read_proposals(sample: dict) -> Proposals:
    """Return the proposals of a video; raise if their numbers are invalid."""
    found = sample['proposal_list']
    segments = np.array([p['segment'] for p in found], dtype=np.float64).reshape(-1, 2)
    scores = np.array([p['score'] for p in found], dtype=np.float64)
    wrong = ~(np.isfinite(segments).all(axis=1) & np.isfinite(scores))
    if wrong.any():
        index = int(wrong.argmax())
        raise UserError(
            f'segment {segments[index].tolist()} with score {scores[index]}, predicted '
            f'for video {sample["video_name"]!r}, is not finite; the model has '
            'diverged, or overflows in half precision'
        )
    labels = np.empty(len(found), dtype=object)
    labels[:] = [p.get('label') for p in found]
    return Proposals(segments, scores, labels)


def named(proposals: Proposals, label: str) -> Proposals:
    """Copy proposals with another class."""
    return proposals._replace(labels=np.full(len(proposals.scores), label, object))
