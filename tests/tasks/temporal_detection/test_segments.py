import math

import pytest
import torch

from dr2net_mm.tasks.temporal_detection.segments import (
    segment_giou,
    segment_iou,
    soft_nms,
)


def segments(*rows, **kwargs):
    return torch.tensor(rows, **kwargs).view(-1, 2)


def test_iou_of_overlapping_nested_and_disjoint_segments():
    a = segments([0.0, 4.0], [10.0, 12.0])
    b = segments([2.0, 6.0], [1.0, 2.0], [4.0, 5.0])
    expected = torch.tensor([[2 / 6, 1 / 4, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(segment_iou(a, b), expected)


def test_segments_of_length_zero_have_iou_and_giou_zero():
    point = segments([1.0, 1.0])
    assert segment_iou(point, point).tolist() == [[0.0]]
    assert segment_giou(point, point).tolist() == [0.0]


@pytest.mark.parametrize('count', [0, 3])
def test_iou_with_an_empty_set_has_its_shape(count):
    full = segments(*([[0.0, 1.0]] * count))
    assert segment_iou(full, torch.zeros(0, 2)).shape == (count, 0)
    assert segment_giou(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


def test_giou_is_iou_less_the_empty_share_of_the_hull():
    a = segments([0.0, 4.0], [0.0, 1.0], [0.0, 2.0])
    b = segments([2.0, 6.0], [3.0, 4.0], [0.0, 2.0])
    torch.testing.assert_close(segment_giou(a, b), torch.tensor([2 / 6, -0.5, 1.0]))


def test_giou_of_disjoint_segments_has_a_gradient():
    a = segments([0.0, 1.0]).requires_grad_()
    segment_giou(a, segments([3.0, 4.0])).sum().backward()
    # GIoU = union / hull - 1 here; the end moves the union alone, the start both.
    torch.testing.assert_close(a.grad, segments([-1 / 4 + 2 / 16, 1 / 4]))


def test_half_precision_segments_are_compared_in_float32():
    a = segments([0.0, 1000.0], dtype=torch.float16)
    b = segments([1.0, 1000.0], dtype=torch.float16)
    iou = segment_iou(a, b)
    assert iou.dtype == torch.float32
    torch.testing.assert_close(iou, torch.tensor([[0.999]]))


def test_gaussian_soft_nms_multiplies_by_the_gaussian_of_the_iou():
    spans = segments([0.0, 4.0], [2.0, 6.0], [20.0, 24.0])
    kept, scores, index = soft_nms(spans, torch.tensor([0.9, 0.8, 0.7]), sigma=0.5)
    lowered = 0.8 * math.exp(-((2 / 6) ** 2) / 0.5)
    assert index.tolist() == [0, 2, 1]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.7, lowered]))
    torch.testing.assert_close(kept, spans[index])


def test_each_chosen_segment_lowers_what_is_left():
    spans = segments([0.0, 4.0], [2.0, 6.0], [0.0, 6.0])
    _, scores, index = soft_nms(spans, torch.tensor([0.9, 0.85, 0.3]), sigma=0.5)
    twice = 0.3 * math.exp(-((4 / 6) ** 2) / 0.5) ** 2
    assert index.tolist() == [0, 1, 2]
    assert scores[2].item() == pytest.approx(twice)


def test_linear_and_hard_methods_act_above_the_threshold_only():
    spans = segments([0.0, 4.0], [0.0, 3.0], [3.0, 7.0])
    scores = torch.tensor([0.9, 0.8, 0.7])
    _, linear, order = soft_nms(spans, scores, method='linear')
    assert order.tolist() == [0, 2, 1]
    torch.testing.assert_close(linear, torch.tensor([0.9, 0.7, 0.8 * 0.25]))
    _, hard, order = soft_nms(spans, scores, method='hard')
    assert order.tolist() == [0, 2]
    torch.testing.assert_close(hard, torch.tensor([0.9, 0.7]))


def test_scores_at_or_below_the_minimum_and_beyond_the_maximum_number_are_left_out():
    spans = segments([0.0, 1.0], [2.0, 3.0], [4.0, 5.0])
    scores = torch.tensor([0.1, 0.5, 0.3])
    assert soft_nms(spans, scores, min_score=0.1)[2].tolist() == [1, 2]
    assert soft_nms(spans, scores, max_num=1)[2].tolist() == [1]


def test_no_segment_is_chosen_twice_when_all_scores_are_zero():
    spans = segments([0.0, 1.0], [0.0, 1.0])
    kept, scores, index = soft_nms(spans, torch.zeros(2), min_score=0)
    assert len(kept) == len(scores) == len(index) == 0


def test_soft_nms_of_nothing_is_nothing():
    kept, scores, index = soft_nms(torch.zeros(0, 2), torch.zeros(0))
    assert kept.shape == (0, 2)
    assert scores.shape == index.shape == (0,)


def test_soft_nms_leaves_its_arguments_as_they_were():
    spans, scores = segments([0.0, 4.0], [0.0, 3.0]), torch.tensor([0.9, 0.8])
    soft_nms(spans, scores)
    assert scores.tolist() == torch.tensor([0.9, 0.8]).tolist()


def test_a_segment_that_ends_before_it_starts_is_named():
    good, bad = segments([0.0, 1.0]), segments([0.0, 1.0], [3.0, 2.0])
    message = r'\[1\] = \[3.0, 2.0\] ends before it starts'
    with pytest.raises(ValueError, match='b' + message):
        segment_iou(good, bad)
    with pytest.raises(ValueError, match='a' + message):
        segment_giou(bad, bad)
    with pytest.raises(ValueError, match='segments' + message):
        soft_nms(bad, torch.ones(2))


@pytest.mark.parametrize('shape', [(2,), (3, 3), (1, 2, 2)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r'must be \[N, 2\]'):
        segment_iou(torch.zeros(shape), torch.zeros(1, 2))


def test_giou_of_different_numbers_of_segments_is_refused():
    with pytest.raises(ValueError, match='2 segments in a and 1 in b'):
        segment_giou(torch.zeros(2, 2), torch.zeros(1, 2))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(sigma=0), 'sigma must be positive, but is 0'),
        (dict(min_score=-1), 'min_score must be 0 or more'),
        (dict(max_num=0), 'max_num must be None or at least 1'),
        (dict(method='mean'), "no soft-NMS method 'mean'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(segments([0.0, 1.0]), torch.ones(1), **options)


@pytest.mark.parametrize(
    'scores, message',
    [
        (torch.ones(2), r'scores must be \[1\]'),
        (torch.tensor([-0.5]), 'lowest of them is -0.5'),
        (torch.tensor([math.nan]), 'nan'),
    ],
)
def test_scores_that_soft_nms_cannot_use_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        soft_nms(segments([0.0, 1.0]), scores)
