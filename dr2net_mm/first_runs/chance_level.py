"""Scores of temporal action detection by chance."""

from typing import Any, Dict, List, Sequence

import numpy as np
from mmengine.registry import METRICS


def random_proposals(
    results: Sequence[Dict[str, Any]],
    durations: Dict[str, float],
    lengths: Sequence[float],
    seed: int = 0,
) -> List[Dict[str, Any]]:
    """Make segments of plausible length at random places with random scores.

    A guess that knows how many proposals are allowed and how long actions are, and
    nothing of the video.

    Args:
        results: Outputs of a localizer; only their numbers of proposals are used.
        durations: Length of each video in seconds, by ``video_name``.
        lengths: Lengths of annotated segments in seconds, to draw from; those longer
            than a video are cut to it.
        seed: Of the random numbers.

    Returns:
        Results of the same form.

    Raises:
        ValueError: If there are no lengths to draw from.
    """
    if not len(lengths):
        raise ValueError('lengths is empty; give the lengths of annotated segments')
    rng, guessed = np.random.default_rng(seed), []
    for result in results:
        duration = durations[result['video_name']]
        count = len(result['proposal_list'])
        drawn = np.minimum(rng.choice(np.asarray(lengths, float), count), duration)
        starts = rng.uniform(0, 1, count) * (duration - drawn)
        proposals: List[Dict[str, Any]] = [
            dict(score=float(score), segment=[float(start), float(start + length)])
            for score, start, length in zip(rng.uniform(0, 1, count), starts, drawn)
        ]
        guessed.append(
            dict(
                video_name=result['video_name'],
                proposal_list=sorted(proposals, key=lambda p: -p['score']),
            )
        )
    return guessed


def evaluate(
    results: Sequence[Dict[str, Any]], evaluator: Dict[str, Any], **changes: Any
) -> Dict[str, float]:
    """Compute the metrics of results.

    Args:
        results: Outputs of a localizer.
        evaluator: Config of the metric, as ``test_evaluator`` has it.
        **changes: Arguments of the metric in place of the config's.
    """
    metric = METRICS.build({**evaluator, **changes})
    metric.process({}, list(results))
    return metric.evaluate(len(results))
