import math

import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models.actionformer.head import PointHead
from dr2net_mm.tasks.temporal_detection.models.actionformer.losses import (
    distance_iou_loss,
)
from dr2net_mm.tasks.temporal_detection.models.actionformer.points import (
    assign_points,
    level_ranges,
    make_points,
)
from dr2net_mm.tasks.temporal_detection.segments import segment_giou, segment_iou


@pytest.fixture
def points():
    """Two levels over eight cells: centers 0.5 … 7.5 and 0.5, 2.5, 4.5, 6.5."""
    return make_points(8, [(0, 2), (2, math.inf)])


def assign(points, segments, labels=None, num_classes=2, radius=1.5):
    labels = [0] * len(segments) if labels is None else labels
    return assign_points(
        points,
        torch.tensor(segments, dtype=torch.float32).view(-1, 2),
        torch.tensor(labels, dtype=torch.long),
        num_classes,
        radius,
    )


def test_points_lie_at_the_cells_that_convolutions_center_on(points):
    assert points.center.tolist() == [
        *(0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5),
        *(0.5, 2.5, 4.5, 6.5),
    ]
    assert points.stride.tolist() == [1] * 8 + [2] * 4
    assert points.low.tolist() == [0] * 8 + [2] * 4
    assert points.high.tolist() == [2] * 8 + [math.inf] * 4


def test_an_odd_length_has_a_point_for_each_position_of_a_level():
    points = make_points(7, level_ranges(3))
    assert points.center[7:].tolist() == [0.5, 2.5, 4.5, 6.5, 0.5, 4.5]


def test_ranges_double_from_level_to_level():
    assert level_ranges(4) == [(0, 4), (4, 8), (8, 16), (16, math.inf)]
    assert level_ranges(1) == [(0, math.inf)]


@pytest.mark.parametrize(
    ('ranges', 'message'),
    [([(0, 4)], '1 regression_ranges and 2 levels'), ([(0, 4), (8, 8)], r'\(8, 8\)')],
)
def test_ranges_that_do_not_fit_are_refused(ranges, message):
    with pytest.raises(ValueError, match=message):
        level_ranges(2, ranges)


def test_a_short_segment_goes_to_the_first_level(points):
    """[2, 5] has its center at 3.5: points 2.5, 3.5 and 4.5 lie near it, and only
    from 3.5 are both ends within 2 cells; from 2.5 and 4.5 the farther one is at 2.5.
    On the second level 2.5 and 4.5 take it, with distances in strides of 2."""
    classes, distances = assign(points, [[2, 5]], [1])
    taken = classes[:, 1].nonzero().flatten().tolist()
    assert taken == [3, 9, 10]
    assert classes[:, 0].sum() == 0
    assert distances[3].tolist() == [1.5, 1.5]
    assert distances[9].tolist() == [0.25, 1.25]
    assert distances[10].tolist() == [1.25, 0.25]
    assert distances[[0, 1, 2, 4, 5, 6, 7, 8, 11]].abs().sum() == 0


def test_points_far_from_the_center_take_nothing(points):
    """[0, 8] has its center at 4; with 1.5 strides of 2 the second level reaches from
    1 to 7, which leaves out 0.5."""
    classes, _ = assign(points, [[0, 8]])
    assert classes[:, 0].nonzero().flatten().tolist() == [9, 10, 11]
    wide, _ = assign(points, [[0, 8]], radius=100.0)
    assert wide[:, 0].nonzero().flatten().tolist() == [8, 9, 10, 11]


def test_of_two_segments_the_shorter_one_is_taken(points):
    classes, distances = assign(points, [[0, 8], [1, 5]], [0, 1])
    # 2.5 on the second level lies near the centers of both.
    assert classes[9].tolist() == [0, 1]
    assert distances[9].tolist() == [0.75, 1.25]


def test_segments_of_one_length_give_all_their_classes(points):
    classes, _ = assign(points, [[1, 5], [1, 5], [1, 5]], [0, 1, 1])
    assert classes[9].tolist() == [1, 1]


def test_a_video_without_actions_is_all_background(points):
    classes, distances = assign(points, [])
    assert classes.shape == (12, 2) and distances.shape == (12, 2)
    assert classes.sum() == 0 and distances.sum() == 0


def test_decoding_inverts_the_assignment(points):
    segments = [[2, 5], [0.3, 7.1]]
    classes, distances = assign(points, segments, [0, 1])
    decoded = points.decode(distances)
    for row, label in classes.nonzero().tolist():
        assert decoded[row].tolist() == pytest.approx(segments[label], abs=1e-6)


def test_the_distance_iou_loss_of_a_hand_computed_pair():
    """[-1, 3] and [-2, 1]: intersection 2, union 5, centers 1 and -0.5."""
    loss = distance_iou_loss(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 1.0]]))
    assert loss.tolist() == pytest.approx([1 - 2 / 5 + (1.5 / 5) ** 2])


def test_without_the_centers_it_is_the_loss_of_giou_and_of_iou():
    torch.manual_seed(0)
    predicted, target = torch.rand(2, 50, 2, dtype=torch.float64)
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    loss = distance_iou_loss(predicted, target, center_distance=False)
    giou = segment_giou(predicted * sign, target * sign)
    iou = segment_iou(predicted * sign, target * sign).diagonal()
    torch.testing.assert_close(loss, 1 - giou.float())
    torch.testing.assert_close(loss, 1 - iou.float())


@pytest.mark.parametrize('center_distance', [False, True])
def test_segments_of_length_zero_have_a_finite_loss(center_distance):
    predicted = torch.zeros(3, 2, requires_grad=True)
    target = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 3.0]])
    loss = distance_iou_loss(predicted, target, center_distance)
    loss.sum().backward()
    assert loss.isfinite().all() and predicted.grad.isfinite().all()


def test_the_head_answers_for_every_point_of_every_level():
    torch.manual_seed(0)
    head = PointHead(channels=8, num_classes=3, levels=2, prior=0.05)
    levels = [torch.randn(2, 8, 6), torch.randn(2, 8, 3)]
    logits, distances = head(levels)
    assert logits.shape == (2, 9, 3) and distances.shape == (2, 9, 2)
    assert (distances >= 0).all()
    # The towers are shared, the gains are not.
    with torch.no_grad():
        head.gains[1] = 2.0
    _, doubled = head(levels)
    torch.testing.assert_close(doubled[:, :6], distances[:, :6])
    torch.testing.assert_close(doubled[:, 6:], 2 * distances[:, 6:])
    last, _ = head([levels[1], levels[1]])
    torch.testing.assert_close(last[:, :3], logits[:, 6:])


def test_classes_begin_at_the_prior():
    head = PointHead(channels=8, num_classes=3, levels=1, prior=0.05)
    torch.nn.init.zeros_(head.classification[-1].weight)
    logits, _ = head([torch.randn(1, 8, 4)])
    assert logits.sigmoid().flatten().tolist() == pytest.approx([0.05] * 12)


@pytest.mark.parametrize('options', [dict(prior=0.0), dict(convolutions=-1)])
def test_a_head_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match='it must be'):
        PointHead(channels=8, num_classes=3, levels=1, **options)
