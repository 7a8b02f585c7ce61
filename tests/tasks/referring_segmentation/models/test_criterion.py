"""Matching and losses against float64 code that knows nothing of mmdet."""

import itertools

import numpy as np
import pytest
import torch
from mmdet.models.task_modules.assigners import HungarianAssigner
from mmengine.structures import InstanceData

from dr2net_mm.tasks.referring_segmentation.models.criterion import (
    MTTRCriterion,
    Predictions,
    Target,
)
from dr2net_mm.tasks.referring_segmentation.models.trajectory_assigner import (
    MTTR_COSTS,
    TrajectoryAssigner,
)

QUERIES, SIZE = 4, (6, 10)


def predictions(samples=1, frames=1, seed=0):
    torch.manual_seed(seed)
    scores = torch.randn(samples, frames, QUERIES, 2, dtype=torch.float64)
    masks = torch.randn(samples, frames, QUERIES, *SIZE, dtype=torch.float64) * 3
    return Predictions(scores, masks)


def target(instances, frames=1, referred=0, visible=None, empty=(), seed=1):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(frames, instances, *SIZE, generator=generator) > 0.6
    for frame, instance in empty:
        masks[frame, instance] = False
    return Target(masks, torch.arange(instances) == referred, visible)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dice(logits, truth):
    p = sigmoid(logits)
    return (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1)


def reference(layer, targets, unmatched=0.1):
    """Losses of one layer, by trying every assignment."""
    frames = layer.scores.shape[1]
    num_masks = max(sum(t.masks.shape[0] * t.masks.shape[1] for t in targets), 1)
    entropy = focal = dices = 0.0
    for b, t in enumerate(targets):
        scores = layer.scores[b].detach().numpy()
        logits, truth = layer.masks[b].detach().numpy(), t.masks.numpy()
        odds = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        count = truth.shape[1]

        def shown(frame, g, t=t):
            seen = t.visible is None or bool(t.visible[frame, g])
            return bool(t.referred[g]) and seen

        def cost(q, g, odds=odds, logits=logits, truth=truth, shown=shown):
            return np.mean(
                [
                    -2 * odds[f, q, 0 if shown(f, g) else 1]
                    - 5 * dice(logits[f, q], truth[f, g])
                    for f in range(frames)
                ]
            )

        best = min(
            itertools.permutations(range(QUERIES), count),
            key=lambda qs: sum(cost(q, g) for g, q in enumerate(qs)),
        )
        owner = {q: g for g, q in enumerate(best)}
        for f in range(frames):
            for q in range(QUERIES):
                g = owner.get(q)
                wanted = 0 if g is not None and shown(f, g) else 1
                weight = 1.0 if g is not None and t.referred[g] else unmatched
                entropy -= weight * np.log(odds[f, q, wanted])
                if g is None:
                    continue
                p, y = sigmoid(logits[f, q]), truth[f, g]
                right = np.where(y, p, 1 - p)
                balance = np.where(y, 0.25, 0.75)
                focal += (-balance * (1 - right) ** 2 * np.log(right)).mean()
                dices += 1 - dice(logits[f, q], y)
    return dict(
        loss_is_referred=2 * entropy / (frames * len(targets)),
        loss_sigmoid_focal=2 * focal / num_masks,
        loss_dice=5 * dices / num_masks,
    )


hidden = torch.tensor([[True, True], [False, True], [True, False]])
CASES = {
    'one instance': [target(1)],
    'three instances': [target(3, referred=2)],
    'as many as queries': [target(4, referred=1)],
    'an empty mask': [target(2, empty=[(0, 0)])],
    'nothing but an empty mask': [target(1, empty=[(0, 0)])],
    'no instance': [target(0)],
    'none of them referred to': [target(2, referred=-1)],
    'two samples': [target(1), target(3, referred=1, seed=2)],
    'a sample without instances': [target(0), target(2, seed=3)],
    'three frames': [target(2, frames=3), target(1, frames=3, seed=4)],
    'hidden in a frame': [target(2, frames=3, visible=hidden, empty=[(1, 0), (2, 1)])],
}


@pytest.mark.parametrize('name', CASES)
def test_losses_are_those_of_an_independent_float64_computation(name):
    targets = CASES[name]
    layer = predictions(len(targets), len(targets[0].masks))
    losses = MTTRCriterion()([layer], targets)
    expected = reference(layer, targets)
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        # The criterion computes in float32.
        assert losses[key].item() == pytest.approx(value, rel=2e-6, abs=1e-7)


def test_every_layer_is_matched_by_itself():
    layers = [predictions(seed=0), predictions(seed=5)]
    losses = MTTRCriterion()(layers, [target(2)])
    for prefix, layer in (('d0.', layers[0]), ('', layers[1])):
        for key, value in reference(layer, [target(2)]).items():
            assert losses[prefix + key].item() == pytest.approx(value, rel=2e-6)


def test_weights_of_the_losses_and_of_other_queries_can_be_set():
    criterion = MTTRCriterion(0.5, 1.0, 1.0, 1.0)
    losses = criterion([predictions()], [target(2)])
    expected = reference(predictions(), [target(2)], unmatched=0.5)
    for key, weight in zip(expected, (2, 2, 5)):
        assert losses[key].item() == pytest.approx(expected[key] / weight, rel=2e-6)


@pytest.mark.parametrize('seed', range(4))
def test_with_one_frame_matching_is_that_of_mmdet(seed):
    layer, truth = predictions(seed=seed), target(3, referred=1, seed=seed)
    layer = Predictions(layer.scores.float(), layer.masks.float())
    query, instance = TrajectoryAssigner()(
        layer.scores[0], layer.masks[0], truth.labels(), truth.masks
    )
    costs = [dict(cost) for cost in MTTR_COSTS]
    assigned = HungarianAssigner(costs).assign(
        InstanceData(scores=layer.scores[0, 0], masks=layer.masks[0, 0]),
        InstanceData(labels=truth.labels()[0], masks=truth.masks[0]),
    )
    expected = torch.zeros(QUERIES, dtype=torch.long)
    expected[query] = instance + 1
    assert torch.equal(assigned.gt_inds, expected)


def test_predictions_are_resized_to_the_instances_before_they_are_compared():
    layer, truth = predictions(), target(1)
    large = Target(
        truth.masks.repeat_interleave(2, -1).repeat_interleave(2, -2), truth.referred
    )
    resized = torch.nn.functional.interpolate(
        layer.masks[0], scale_factor=2, mode='bilinear', align_corners=False
    )
    losses = MTTRCriterion()([layer], [large])
    expected = reference(Predictions(layer.scores, resized[None]), [large])
    for key, value in expected.items():
        assert losses[key].item() == pytest.approx(value, rel=2e-6)


def test_predictions_that_are_not_finite_are_refused():
    layer = predictions()
    layer.masks[0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match='not finite'):
        MTTRCriterion()([layer], [target(2)])
