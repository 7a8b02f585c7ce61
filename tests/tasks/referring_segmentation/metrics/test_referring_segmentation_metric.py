"""Mask AP, precision and IoU against values computed by hand."""

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

from dr2net_mm.tasks.referring_segmentation.metrics.mask_overlap import overlap_metrics

SIZE = (40, 50)


def box(top, left, height, width):
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def sample(name, truth, *predictions):
    """A sample with masks and their scores."""
    masks, scores = zip(*predictions)
    return dict(
        image_id=name,
        truth=truth[None],
        pred_instances=dict(
            masks=torch.stack(masks)[:, None], scores=torch.tensor(scores)[:, None]
        ),
    )


def evaluate(samples, **options):
    metric = METRICS.build(dict(type='ReferringSegmentationMetric', **options))
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_perfect_masks_score_one():
    truth = box(0, 0, 35, 35)
    found = evaluate([sample('a', truth, (truth, 0.9), (~truth, 0.1))])
    assert found['rvos/mAP'] == pytest.approx(1)
    assert found['rvos/P@0.9'] == found['rvos/mean_IoU'] == 1
    # No small ground truth: COCO's -1.
    assert found['rvos/AP_small'] == -1


def test_average_precision_is_that_of_hand_computed_overlaps():
    # IoUs of the best masks: 30/30 = 1, 24/30 = 0.8 and 15/30 = 0.5.
    truth = box(0, 0, 10, 30)
    masks = [box(0, 0, 10, 30), box(0, 0, 8, 30), box(0, 0, 5, 30)]
    samples = [
        sample(name, truth, (mask, score))
        for name, mask, score in zip('abc', masks, (0.9, 0.8, 0.7))
    ]
    found = evaluate(samples)
    # COCO counts IoU >= threshold. At each threshold all matched masks come first, so
    # precision is 1 up to recall k/3: of 101 recall points 0 … 1 these are
    # ⌊100·k/3⌋ + 1. k is 3 at 0.5, 2 up to 0.8, 1 up to 0.95.
    points = {3: 101, 2: 67, 1: 34}
    counts = [3] + [2] * 6 + [1] * 3
    assert found['rvos/mAP'] == pytest.approx(
        np.mean([points[k] / 101 for k in counts])
    )
    assert found['rvos/AP50'] == pytest.approx(1)
    assert found['rvos/AP75'] == pytest.approx(67 / 101)
    # P@K counts IoU > K: with 1e-6 added above and below, 0.5 exceeds 0.5.
    assert found['rvos/P@0.5'] == pytest.approx(1)
    assert found['rvos/P@0.8'] == pytest.approx(2 / 3)
    assert found['rvos/mean_IoU'] == pytest.approx((1 + 0.8 + 0.5) / 3, abs=1e-6)
    assert found['rvos/overall_IoU'] == pytest.approx((300 + 240 + 150) / 900)


def test_all_masks_count_for_ap_and_the_best_alone_for_precision():
    truth = box(0, 0, 10, 30)
    wrong = box(20, 0, 10, 30)
    samples = [sample('a', truth, (truth, 0.4), (wrong, 0.6))]
    every, one = evaluate(samples), evaluate(samples, masks_per_image=1)
    assert every['rvos/mAP'] == pytest.approx(0.5)
    assert one['rvos/mAP'] == 0
    assert every['rvos/P@0.5'] == one['rvos/P@0.5'] == 0


def test_of_equal_scores_the_last_mask_counts():
    truth = box(0, 0, 10, 30)
    found = evaluate([sample('a', truth, (~truth, 0.5), (truth, 0.5))])
    assert found['rvos/P@0.9'] == 1


def test_an_image_that_comes_twice_counts_once():
    truth, wrong = box(0, 0, 10, 30), box(20, 0, 10, 30)
    good, bad = sample('a', truth, (truth, 0.9)), sample('b', truth, (wrong, 0.8))
    once, twice = evaluate([good, bad]), evaluate([good, bad, bad, bad])
    assert once == twice
    assert once['rvos/P@0.5'] == 0.5


def test_an_empty_ground_truth_agrees_with_an_empty_mask_only():
    nothing, something = torch.zeros(SIZE, dtype=torch.bool), box(0, 0, 4, 4)
    found = evaluate([sample('a', nothing, (nothing, 0.9))])
    assert found['rvos/mean_IoU'] == found['rvos/overall_IoU'] == 1
    found = evaluate([sample('a', nothing, (something, 0.9))])
    assert found['rvos/mean_IoU'] == pytest.approx(0, abs=1e-6)


def test_overlap_is_that_of_numpy():
    generator = np.random.default_rng(0)
    union = generator.integers(1, 100, 30)
    intersection = (union * generator.random(30)).astype(int)
    found = overlap_metrics(intersection, union)
    ious = intersection / union
    assert found['P@0.6'] == pytest.approx((ious > 0.6).mean())
    assert found['mean_IoU'] == pytest.approx(ious.mean(), abs=1e-6)
    assert found['overall_IoU'] == pytest.approx(intersection.sum() / union.sum())


def test_samples_that_cannot_be_evaluated_are_refused():
    truth = box(0, 0, 10, 30)
    without = sample('a', truth, (truth, 0.9))
    without['truth'] = None
    with pytest.raises(ValueError, match='with_truth=True'):
        evaluate([without])
    video = sample('a', truth, (truth, 0.9))
    video['pred_instances']['masks'] = truth.expand(1, 3, *SIZE)
    with pytest.raises(ValueError, match='a has 3 annotated frames'):
        evaluate([video])
    with pytest.raises(ValueError, match='masks_per_image is 0'):
        evaluate([], masks_per_image=0)
