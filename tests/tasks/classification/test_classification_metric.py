import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from scipy.stats import mannwhitneyu

from dr2net_mm.tasks.classification.metrics.classification_metric import (
    area_under_curve,
)


def evaluate(scores, labels):
    metric = METRICS.build(dict(type='ClassificationMetric'))
    samples = [
        dict(pred_score=torch.tensor(score), gt_label=torch.tensor(label))
        for score, label in zip(scores, labels)
    ]
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_both_numbers_of_four_images_are_those_computed_by_hand():
    # Of the pairs (positive, negative) 0.8 > 0.6, 0.8 > 0.1, 0.4 > 0.1 and 0.4 < 0.6.
    scores = [[0.2, 0.8], [0.6, 0.4], [0.4, 0.6], [0.9, 0.1]]
    found = evaluate(scores, [1, 1, 0, 0])
    assert found == {'classification/accuracy': 0.5, 'classification/auc': 0.75}


def test_more_classes_give_the_mean_of_one_against_the_rest():
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    labels = np.arange(30) % 3
    found = evaluate(scores.tolist(), labels.tolist())['classification/auc']
    areas = [area_under_curve(scores[:, c], labels == c) for c in range(3)]
    assert found == pytest.approx(np.mean(areas))


def test_the_area_is_the_statistic_of_mann_and_whitney_also_with_ties():
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 6, 80) / 5, rng.random(80) < 0.3
    statistic = mannwhitneyu(scores[positive], scores[~positive]).statistic
    expected = statistic / (positive.sum() * (~positive).sum())
    assert area_under_curve(scores, positive) == pytest.approx(expected)


def test_the_area_of_a_single_class_is_not_a_number():
    assert np.isnan(area_under_curve(np.array([0.1, 0.2]), np.array([True, True])))


def test_an_image_without_a_label_is_refused():
    metric = METRICS.build(dict(type='ClassificationMetric'))
    with pytest.raises(ValueError, match='no gt_label'):
        metric.process({}, [dict(pred_score=torch.tensor([0.5, 0.5]))])
