"""Scores by hand, and whole clouds from spheres."""

import numpy as np
import pytest
import torch

from dr2net_mm.errors import UserError
from dr2net_mm.tasks.point_segmentation.datasets.cloud import Cloud
from dr2net_mm.tasks.point_segmentation.datasets.sphere_dataset import SharedClouds
from dr2net_mm.tasks.point_segmentation.metrics import PointIoUMetric
from dr2net_mm.tasks.point_segmentation.metrics.confusion import (
    confusion_matrix,
    scores_of,
    table_of,
)
from tests.tasks.point_segmentation.datasets.toolbox import random_cloud, sampled

CLASSES = ('a', 'b', 'c')


def test_scores_are_those_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2, 255])
    predicted = np.array([0, 0, 1, 1, 2, 2, 0])
    confusion = confusion_matrix(truth, predicted, 3)
    assert confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    scores = scores_of(confusion)
    np.testing.assert_allclose(scores.iou, [200 / 3, 100 / 3, 50])
    np.testing.assert_allclose(scores.recall, [200 / 3, 50, 100])
    assert scores.mean_iou == pytest.approx(50)
    assert scores.mean_accuracy == pytest.approx(650 / 9)
    assert scores.overall_accuracy == pytest.approx(400 / 6)
    assert scores.absent == ()


def test_an_absent_class_is_in_no_mean():
    """Also where something was taken for it."""
    scores = scores_of(np.array([[3, 0, 1], [0, 2, 0], [0, 0, 0]]))
    assert scores.absent == (2,) and np.isnan(scores.iou[2])
    assert scores.mean_iou == pytest.approx((75 + 100) / 2)
    assert 'absent' in table_of(scores, CLASSES).splitlines()[3]


def test_nothing_to_evaluate_is_named():
    with pytest.raises(ValueError, match='no point has a known class'):
        scores_of(np.zeros((3, 3)))


@pytest.fixture
def clouds():
    made = [random_cloud(points=300, seed=seed) for seed in (0, 1)]
    return SharedClouds(sampled(cloud, 0.7) for cloud in made)


def metric_of(clouds, **arguments):
    metric = PointIoUMetric(**arguments)
    metric.dataset_meta = dict(classes=CLASSES, clouds=clouds)
    return metric


def spheres(clouds, count=6, points=20, seed=0):
    """Logits of random parts of the clouds, some points of which are repetitions."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for i in range(count):
        number = i % len(clouds)
        samples.append(
            dict(
                cloud=number,
                indices=torch.randint(
                    len(clouds[number]), (points,), generator=generator
                ),
                valid=torch.arange(points) < points - 4,
                logits=torch.randn(points, 3, generator=generator),
            )
        )
    return samples


def by_hand(clouds, samples):
    """Scores from lists and loops."""
    pairs = []
    for number, cloud in enumerate(clouds):
        seen = {}
        for sample in samples:
            if sample['cloud'] != number:
                continue
            for index, valid, logits in zip(
                sample['indices'].tolist(), sample['valid'], sample['logits'].double()
            ):
                if valid:
                    seen.setdefault(index, []).append(logits.numpy())
        classes = {i: int(np.mean(found, axis=0).argmax()) for i, found in seen.items()}
        covered = np.array(sorted(classes))
        for position, label in zip(cloud.whole.positions, cloud.whole.labels):
            gaps = ((cloud.positions.astype(float) - position) ** 2).sum(1)
            near = int(gaps.argmin())
            if near not in classes:
                home = cloud.positions[near].astype(float)
                gaps = ((cloud.positions[covered].astype(float) - home) ** 2).sum(1)
                near = int(covered[gaps.argmin()])
            pairs.append((int(label), classes[near]))
    iou, recall = [], []
    for c in range(3):
        both = sum(t == c and p == c for t, p in pairs)
        iou.append(both / sum(t == c or p == c for t, p in pairs))
        recall.append(both / sum(t == c for t, p in pairs))
    right = sum(t == p for t, p in pairs) / len(pairs)
    return dict(mIoU=100 * np.mean(iou), mAcc=100 * np.mean(recall), OA=100 * right)


def test_spheres_are_averaged_and_projected_to_the_whole_clouds(clouds, log_lines):
    metric, samples = metric_of(clouds), spheres(clouds)
    for sample in samples:
        metric.process(None, [sample])
    found = metric.evaluate(6)
    assert found == pytest.approx(by_hand(clouds, samples))
    assert any('lie in no sphere' in line for line in log_lines)
    # A second evaluation starts from nothing.
    more = spheres(clouds, seed=1)
    metric.process(None, more)
    assert metric.evaluate(6) == pytest.approx(by_hand(clouds, more))


def test_predictions_of_every_point_are_written(clouds, tmp_path):
    metric = metric_of(clouds, predictions=str(tmp_path), prefix='s3dis')
    metric.process(None, spheres(clouds))
    assert 's3dis/mIoU' in metric.evaluate(6)
    predicted = np.load(tmp_path / 'cloud 1.npz')['predicted']
    assert predicted.shape == (300,) and predicted.max() <= 2


def test_a_class_of_the_list_that_no_cloud_has_is_said(log_lines):
    cloud = random_cloud(points=40)
    cloud = Cloud(*cloud[:3], cloud.labels.clip(max=1))
    clouds = SharedClouds([sampled(cloud, 0.7)])
    metric = metric_of(clouds)
    metric.process(None, spheres(clouds))
    metric.evaluate(6)
    assert any(line.endswith('without a labeled point: c') for line in log_lines)


def test_a_data_set_without_clouds_and_a_cloud_without_spheres_are_named(clouds):
    metric = PointIoUMetric()
    metric.dataset_meta = dict(classes=CLASSES)
    with pytest.raises(UserError, match='set test_mode=True'):
        metric.process(None, spheres(clouds))
    metric = metric_of(clouds)
    metric.process(None, spheres(clouds)[:1])
    with pytest.raises(UserError, match='no sphere of cloud 1 was predicted'):
        metric.evaluate(1)
