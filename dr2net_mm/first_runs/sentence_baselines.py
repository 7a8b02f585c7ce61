"""What referring video object segmentation scores without reading the sentence."""

from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import torch
from mmengine.registry import METRICS
from mmengine.structures import BaseDataElement, InstanceData

from dr2net_mm.first_runs.data.moving_digits import DIRECTIONS, SIZES, WORDS

Rescore = Callable[[InstanceData], torch.Tensor]


def largest_mask(predicted: InstanceData) -> torch.Tensor:
    """Score each candidate by the number of its pixels, [Q, T]."""
    return predicted.masks.flatten(2).sum(-1).float()


def random_query(seed: int) -> Rescore:
    """Return a function that scores candidates at random."""
    generator = torch.Generator().manual_seed(seed)

    def rescore(predicted: InstanceData) -> torch.Tensor:
        return torch.rand(predicted.scores.shape, generator=generator)

    return rescore


def rescored(
    samples: Sequence[BaseDataElement], rescore: Rescore
) -> List[BaseDataElement]:
    """Copy predictions with other scores for the same masks.

    Args:
        samples: With ``pred_instances``.
        rescore: From the candidates of a sample to their scores.
    """
    copies = []
    for sample in samples:
        copy = sample.new()
        predicted = sample.pred_instances
        copy.pred_instances = InstanceData(
            masks=predicted.masks, scores=rescore(predicted)
        )
        copies.append(copy)
    return copies


def other_sentences(texts: Dict[str, str], seed: int = 0) -> Dict[str, str]:
    """Give every sample the sentence of another one that reads differently.

    Args:
        texts: Sentence of each sample, by ``image_id``.
        seed: Of the choice.

    Raises:
        ValueError: If all sentences are the same.
    """
    rng, choices = np.random.default_rng(seed), list(texts.values())
    if len(set(choices)) < 2:
        raise ValueError('all sentences are the same; there is nothing to shuffle')
    shuffled = {}
    for name, text in texts.items():
        other = text
        while other == text:
            other = choices[int(rng.integers(len(choices)))]
        shuffled[name] = other
    return shuffled


def evaluate(
    samples: Sequence[BaseDataElement], evaluator: Dict[str, Any]
) -> Dict[str, float]:
    """Metrics of predictions, by their names without a prefix.

    Args:
        samples: With ``pred_instances`` and ``truth``.
        evaluator: Config of the metric, as ``test_evaluator`` has it.
    """
    metric = METRICS.build(dict(evaluator))
    metric.process({}, [sample.to_dict() for sample in samples])
    metrics = metric.evaluate(len(samples))
    return {name.split('/')[-1]: value for name, value in metrics.items()}


def kind_of(sentence: str) -> str:
    """Tell what a sentence on moving digits goes by."""
    words = set(sentence.split())
    if words & set(WORDS):
        return 'digit'
    if words & set(SIZES):
        return 'size'
    moves = bool(words & {'moving', 'goes'})
    return 'direction' if moves and words & set(DIRECTIONS) else 'position'
