import math
from unittest import mock

import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models import common
from dr2net_mm.tasks.temporal_detection.models.common import (
    LossNormalizer,
    covered_seconds,
    describe_proposals,
    ground_truth,
    sigmoid_focal_loss,
    stack_features,
)

CPU = torch.device('cpu')


def test_focal_loss_of_hand_computed_numbers():
    logits = torch.tensor([math.log(3.0), math.log(3.0), 0.0])
    loss = sigmoid_focal_loss(
        logits, torch.tensor([1.0, 0.0, 1.0]), alpha=0.25, gamma=2.0
    )
    expected = [
        # p = 3/4 of a positive, p = 3/4 of a negative, p = 1/2 of a positive.
        0.25 * 0.25**2 * -math.log(0.75),
        0.75 * 0.75**2 * -math.log(0.25),
        0.25 * 0.5**2 * math.log(2),
    ]
    assert loss.tolist() == pytest.approx(expected)


def test_focal_loss_of_gamma_0_is_half_the_cross_entropy_of_soft_targets():
    torch.manual_seed(0)
    logits, targets = torch.randn(20), torch.rand(20)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, reduction='none'
    )
    loss = sigmoid_focal_loss(logits, targets, alpha=0.5, gamma=0.0)
    torch.testing.assert_close(loss, expected / 2)


def test_focal_loss_is_finite_where_half_precision_saturates():
    logits = torch.tensor([-80.0, 80.0], dtype=torch.bfloat16, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1.0, 0.0]))
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite().all() and logits.grad.isfinite().all()


def test_the_normalizer_moves_towards_the_positives_while_it_trains():
    normalizer = LossNormalizer(initial=100.0, momentum=0.9)
    assert normalizer(20).item() == pytest.approx(92)
    assert normalizer(torch.tensor(0)).item() == pytest.approx(0.9 * 92 + 0.1)
    before = normalizer.value.item()
    assert normalizer.eval()(10**6).item() == pytest.approx(before)
    assert list(normalizer.state_dict()) == ['value']


def test_the_normalizer_counts_the_mean_of_all_processes():
    def mean_of_two(count, op):
        assert op == 'mean'
        count.copy_((count + 40) / 2)

    normalizer = LossNormalizer(initial=100.0, momentum=0.9)
    with mock.patch.object(common.dist, 'all_reduce', mean_of_two):
        assert normalizer(20).item() == pytest.approx(0.9 * 100 + 0.1 * 30)


def test_a_divisor_is_not_changed_by_the_next_batch():
    normalizer = LossNormalizer(initial=100.0)
    first = normalizer(20)
    normalizer(1)
    assert first.item() == pytest.approx(92)


@pytest.mark.parametrize('options', [dict(initial=0), dict(momentum=1.0)])
def test_a_normalizer_that_cannot_be_is_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f'{name} is {value}'):
        LossNormalizer(**options)


def test_features_are_stacked_and_checked():
    videos = torch.randn(3, 4, 5)
    assert torch.equal(stack_features(list(videos), 4, 5), videos)
    assert stack_features(videos, 4, 5) is videos
    with pytest.raises(ValueError, match=r'video 0 have the shape \[4, 5\].*6 chann'):
        stack_features(videos, 6, 5)


def test_ground_truth_is_float32_with_labels_where_there_are_classes(localizing):
    samples = [
        localizing.sample('a', [[0.1, 0.5], [0.2, 0.3]], [1, 0]),
        localizing.sample('b', [], []),
    ]
    first, second = ground_truth(samples, 2, CPU)
    torch.testing.assert_close(first.segments, torch.tensor([[0.1, 0.5], [0.2, 0.3]]))
    assert first.labels.tolist() == [1, 0]
    assert second.segments.shape == (0, 2) and second.labels.dtype == torch.long
    agnostic, _ = ground_truth(samples, 1, CPU)
    assert agnostic.labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ('segments', 'labels', 'message'),
    [
        ([[0.5, 0.4]], [0], r"'a' has the segment \[0.5"),
        ([[-0.1, 0.4]], [0], r'0 <= start <= end <= 1'),
        ([[1.0, 12.5]], [0], 'fractions of the video'),
        ([[math.nan, 0.5]], [0], 'fractions of the video'),
        ([[0.1, 0.4]], [2], "'a' has the label 2"),
        ([[0.1, 0.4]], [-1], "'a' has the label -1"),
        ([[0.1, 0.4]], [0, 1], '1 segments and 2 labels'),
    ],
)
def test_ground_truth_that_cannot_be_is_refused(localizing, segments, labels, message):
    sample = localizing.sample('a', segments, [0])
    sample.gt_instances = type('Instances', (dict,), {})(
        gt_bbox=torch.tensor(segments), gt_label=torch.tensor(labels)
    )
    with pytest.raises(ValueError, match=message):
        ground_truth([sample], 2, CPU)


def test_seconds_are_those_that_the_features_cover():
    assert covered_seconds(dict(duration_second=10)) == 10
    part = dict(duration_second=10, feature_frame=80, duration_frame=100)
    assert covered_seconds(part) == pytest.approx(8)
    with pytest.raises(KeyError, match="'a' has no duration_second"):
        covered_seconds(dict(video_name='a'))


def test_proposals_are_described_best_first_within_the_video():
    result = describe_proposals(
        dict(video_name='a', duration_second=20.0),
        torch.tensor([[0.1, 0.5], [-0.2, 1.3]]),
        torch.tensor([0.25, 0.75]),
        ['run', 'jump'],
    )
    first, second = result['proposal_list']
    assert result['video_name'] == 'a'
    assert first == dict(score=0.75, segment=[0.0, 20.0], label='jump')
    assert second['segment'] == pytest.approx([2.0, 10.0])
    assert second['label'] == 'run'
