import math

import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models.actionformer import SegmentDecoder
from dr2net_mm.tasks.temporal_detection.models.actionformer.decoding import vote

LENGTH = 100.0


def decode(segments, scores, **options):
    options = dict(dict(voting_threshold=None), **options)
    scores = torch.tensor(scores)
    if scores.dim() == 1:
        scores = scores.unsqueeze(1)
    return SegmentDecoder(**options)(
        torch.tensor(segments, dtype=torch.float32), scores, LENGTH
    )


def test_proposals_come_by_falling_score():
    found = decode([[0.0, 10.0], [20.0, 30.0], [50.0, 90.0]], [0.2, 0.9, 0.5])
    assert found.segments.tolist() == [[20, 30], [50, 90], [0, 10]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert found.labels.tolist() == [0, 0, 0]


def test_overlapping_proposals_lose_score():
    """IoU of [0, 10] and [5, 15] is 1/3."""
    found = decode([[0.0, 10.0], [5.0, 15.0]], [0.9, 0.6], sigma=0.5)
    lowered = 0.6 * math.exp(-((1 / 3) ** 2) / 0.5)
    assert found.scores.tolist() == pytest.approx([0.9, lowered])


def test_classes_do_not_suppress_one_another():
    found = decode([[0.0, 10.0], [0.0, 10.0]], [[0.9, 0.1], [0.2, 0.8]], max_num=2)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.labels.tolist() == [0, 1]
    assert found.segments.tolist() == [[0, 10], [0, 10]]


def test_many_classes_keep_the_precision_of_segments():
    scores = torch.zeros(1, 300)
    scores[0, 299] = 0.5
    found = decode([[1.2345678, 2.3456789]], scores.tolist(), voting_threshold=0.5)
    expected = torch.tensor([[1.2345678, 2.3456789]])
    torch.testing.assert_close(found.segments, expected, rtol=0, atol=0)


def test_segments_are_cut_to_the_video():
    found = decode([[-5.0, 10.0], [95.0, 130.0], [-9.0, -4.0]], [0.9, 0.8, 0.7])
    assert found.segments.tolist() == [[0, 10], [95, 100]]


def test_short_and_improbable_segments_are_left_out():
    found = decode(
        [[0.0, 0.5], [10.0, 12.0], [30.0, 40.0]],
        [0.9, 0.2, 0.001],
        min_length=1.0,
        score_threshold=0.01,
    )
    assert found.segments.tolist() == [[10, 12]]


def test_scores_that_are_too_low_after_the_nms_are_left_out():
    found = decode([[0.0, 10.0], [0.0, 10.0]], [0.9, 0.8], min_score=0.2, sigma=0.5)
    assert found.scores.tolist() == pytest.approx([0.9])


def test_numbers_of_segments_are_limited():
    segments = [[10.0 * i, 10.0 * i + 5] for i in range(6)]
    scores = [0.1, 0.6, 0.3, 0.5, 0.2, 0.4]
    assert len(decode(segments, scores, max_num=4).scores) == 4
    found = decode(segments, scores, pre_nms_top_k=2)
    assert found.scores.tolist() == pytest.approx([0.6, 0.5])


def test_a_video_in_which_nothing_scores_has_no_proposals():
    found = decode([[0.0, 10.0]], [0.0], voting_threshold=0.7)
    assert found.segments.shape == (0, 2) and found.scores.shape == (0,)


def test_voting_is_the_mean_weighted_with_score_and_iou():
    """[0, 10] and [0, 8] overlap by 0.8, [0, 4] by 0.4, which does not vote."""
    segments = torch.tensor([[0.0, 10.0], [0.0, 8.0], [0.0, 4.0]]).double()
    voted = vote(segments[:1], segments, torch.tensor([0.9, 0.5, 0.7]), 0.7)
    end = (0.9 * 10 + 0.5 * 0.8 * 8) / (0.9 + 0.5 * 0.8)
    assert voted.tolist() == [pytest.approx([0, end])]


def test_voting_uses_the_scores_before_the_nms():
    found = decode(
        [[0.0, 10.0], [0.0, 8.0]], [0.9, 0.5], voting_threshold=0.7, max_num=1
    )
    end = (0.9 * 10 + 0.5 * 0.8 * 8) / (0.9 + 0.5 * 0.8)
    assert found.segments.tolist() == [pytest.approx([0, end])]


@pytest.mark.parametrize(
    'options',
    [
        dict(max_num=0),
        dict(pre_nms_top_k=0),
        dict(sigma=0.0),
        dict(min_score=-0.1),
        dict(score_threshold=-0.1),
        dict(voting_threshold=0.0),
        dict(voting_threshold=1.5),
    ],
)
def test_an_option_out_of_range_is_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f'{name} is {value}'):
        SegmentDecoder(**options)
