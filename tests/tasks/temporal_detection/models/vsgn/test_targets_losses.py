import math

import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models.common import GroundTruth
from dr2net_mm.tasks.temporal_detection.models.vsgn import VSGNCriterion, VSGNOutputs
from dr2net_mm.tasks.temporal_detection.models.vsgn.losses import (
    balanced_bce,
    giou_loss,
    ordered,
)
from dr2net_mm.tasks.temporal_detection.models.vsgn.targets import (
    anchor_iou,
    assign,
    boundary_targets,
    match,
)


def truth(*rows, labels=None):
    segments = torch.tensor(rows, dtype=torch.float32).view(-1, 2)
    if labels is None:
        labels = [0] * len(segments)
    return GroundTruth(segments, torch.tensor(labels, dtype=torch.long))


def test_boundary_targets_are_the_covered_share_of_each_cell():
    start, end, action = boundary_targets(truth([3.0, 5.5]).segments, 8)
    # Windows [1.5, 4.5] and [4, 7].
    assert start.tolist() == [0, 0.5, 1, 1, 0.5, 0, 0, 0]
    assert end.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert action.tolist() == [0, 0, 0, 1, 1, 0.5, 0, 0]


def test_boundary_targets_of_several_segments_are_the_largest():
    both = boundary_targets(truth([1.0, 3.25], [3.25, 6.0]).segments, 8)
    one = boundary_targets(truth([1.0, 3.25]).segments, 8)
    other = boundary_targets(truth([3.25, 6.0]).segments, 8)
    assert both.tolist() == torch.max(one, other).tolist()


def test_a_video_without_actions_has_no_boundaries():
    assert boundary_targets(truth().segments, 4).tolist() == [[0.0] * 4] * 3


def test_anchor_iou_counts_the_anchor_inclusively():
    iou = anchor_iou(
        torch.tensor([[0.0, 9.0], [5.0, 9.0], [20.0, 29.0]]),
        torch.tensor([[0.0, 9.0], [4.0, 8.0]]),
    )
    expected = [[9 / 10, 4 / (10 + 4 - 4)], [4 / (5 + 9 - 4), 3 / (5 + 4 - 3)], [0, 0]]
    torch.testing.assert_close(iou, torch.tensor(expected))


def test_matches_need_the_threshold():
    iou = torch.tensor([[0.6, 0.1], [0.59, 0.0], [0.2, 0.9], [0.7, 0.8]])
    assert match(iou, 0.6).tolist() == [0, -1, 1, 1]


def test_every_ground_truth_keeps_its_best_proposals_however_low():
    # The second ground truth is best met by the third and fourth proposal, in a tie.
    iou = torch.tensor([[0.9, 0.0], [0.3, 0.1], [0.0, 0.2], [0.1, 0.2]])
    assert match(iou, 0.6).tolist() == [0, -1, 1, 1]


def test_a_low_quality_match_goes_to_the_ground_truth_that_overlaps_most():
    iou = torch.tensor([[0.9, 0.0], [0.5, 0.4]])
    # The second proposal is the best one of the second ground truth, and overlaps the
    # first one more.
    assert match(iou, 0.6).tolist() == [0, 0]


def test_a_ground_truth_that_nothing_touches_matches_nothing():
    iou = torch.tensor([[0.9, 0.0], [0.1, 0.0]])
    assert match(iou, 0.6).tolist() == [0, -1]


def test_assignment_gives_segment_and_class_of_the_matched_ground_truth():
    proposals = torch.tensor([[[0.0, 9.0], [20.0, 39.0]], [[0.0, 9.0], [20.0, 39.0]]])
    truths = [truth([20.0, 40.0], [0.0, 10.0], labels=[2, 1]), truth()]
    assignment = assign(proposals, truths, 0.6)
    assert assignment.positive.tolist() == [[True, True], [False, False]]
    assert assignment.segments[0].tolist() == [[0.0, 10.0], [20.0, 40.0]]
    assert assignment.labels.tolist() == [[1, 2], [0, 0]]


def test_giou_loss_by_hand():
    predictions = torch.tensor([[0.0, 4.0], [1.0, 0.0]])
    targets = torch.tensor([[2.0, 6.0], [3.0, 4.0]])
    # GIoU 2/6 and, with its ends swapped, 2/4 - 1.
    loss = giou_loss(predictions, targets)
    assert loss.item() == pytest.approx(1 - 2 / 6 + 1.5)
    assert ordered(predictions).tolist() == [[0.0, 4.0], [0.0, 1.0]]


def test_balanced_cross_entropy_by_hand():
    logits = torch.tensor([0.0, 2.0, -1.0, 0.5])
    positive = torch.tensor([True, False, False, False])
    entropy = [math.log(2), *(math.log1p(math.exp(x)) for x in (2.0, -1.0, 0.5))]
    expected = (entropy[0] * 4 / 2 + sum(entropy[1:]) * 4 / 6) / 4
    assert balanced_bce(logits, positive).item() == pytest.approx(expected)


@pytest.mark.parametrize('value', [True, False])
def test_cross_entropy_of_one_kind_only_is_the_plain_mean(value):
    logits = torch.tensor([0.0, 0.0])
    positive = torch.tensor([value, value])
    assert balanced_bce(logits, positive).item() == pytest.approx(math.log(2))


def crafted(length=16):
    """One anchor that fits the ground truth [4, 12], one that does not."""
    anchors = torch.tensor([[4.0, 12.0], [0.0, 1.0]])
    outputs = VSGNOutputs(
        logits=torch.tensor([[[0.0], [0.0]]]),
        proposals=torch.tensor([[[4.0, 10.0], [0.0, 1.0]]]),
        boundaries=torch.zeros(1, 3, length),
        adjusted=torch.tensor([[[4.0, 11.0], [0.0, 1.0]]]),
    )
    return anchors, outputs, [truth([4.0, 12.0])]


def test_all_losses_of_a_crafted_video_by_hand():
    criterion = VSGNCriterion()
    anchors, outputs, truths = crafted()
    losses = criterion(outputs, anchors, truths)
    normalizer = 0.9 * 100 + 0.1 * 1
    focal = 0.35 * 0.25 * math.log(2) + 0.65 * 0.25 * math.log(2)
    expected = dict(
        loss_cls=focal / normalizer,
        loss_reg=(1 - 6 / 8) / normalizer,
        loss_start=math.log(2),
        loss_end=math.log(2),
        loss_action=math.log(2),
        loss_adjust=(1 - 7 / 8) / normalizer,
    )
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected)


def test_classes_follow_the_decoded_segments_and_segments_the_anchors():
    criterion = VSGNCriterion(normalizer=dict(momentum=0.0))
    anchors, outputs, truths = crafted()
    swapped = outputs._replace(
        logits=torch.tensor([[[9.0], [-9.0]]]),
        proposals=outputs.proposals.flip(1),
        adjusted=outputs.adjusted.flip(1),
    )
    losses = criterion(swapped, anchors, truths)
    # The first anchor fits, so its segment [0, 1] is compared with [4, 12].
    assert losses['loss_reg'].item() == pytest.approx(1 - (0 - 3 / 12))
    # The second proposal fits, so its logit of -9 is the wrong one.
    wrong = 0.35 * math.log1p(math.exp(9)) + 0.65 * math.log1p(math.exp(9))
    assert losses['loss_cls'].item() == pytest.approx(wrong, rel=1e-2)
    assert losses['loss_adjust'].item() == pytest.approx(1 - 7 / 8)


def test_classes_other_than_the_matched_one_are_negative():
    criterion = VSGNCriterion(normalizer=dict(momentum=0.0), focal_gamma=0.0)
    anchors, outputs, _ = crafted()
    logits = torch.tensor([[[0.0, 20.0, 0.0], [-20.0, -20.0, -20.0]]])
    truths = [truth([4.0, 12.0], labels=[1])]
    loss = criterion(outputs._replace(logits=logits), anchors, truths)['loss_cls']
    assert loss.item() == pytest.approx(2 * 0.65 * math.log(2), rel=1e-4)


def test_weights_multiply_the_losses_by_name():
    anchors, outputs, truths = crafted()
    plain = VSGNCriterion()(outputs, anchors, truths)
    weighted = VSGNCriterion(weights=dict(start=0.2, cls=3))(outputs, anchors, truths)
    factors = dict(loss_start=0.2, loss_cls=3)
    for name, loss in plain.items():
        torch.testing.assert_close(weighted[name], factors.get(name, 1) * loss)


def test_the_normalizers_follow_the_positives_and_survive_a_checkpoint():
    criterion = VSGNCriterion()
    anchors, outputs, truths = crafted()
    for _ in range(2):
        criterion(outputs, anchors, truths)
    expected = 0.9 * (0.9 * 100 + 0.1) + 0.1
    state = criterion.state_dict()
    assert set(state) == {f'normalizers.{n}.value' for n in ('cls', 'reg', 'adjust')}
    assert all(value.item() == pytest.approx(expected) for value in state.values())
    resumed = VSGNCriterion()
    resumed.load_state_dict(state)
    again = resumed(outputs, anchors, truths)
    torch.testing.assert_close(again, criterion(outputs, anchors, truths))


def test_validation_losses_leave_the_normalizers_alone():
    criterion = VSGNCriterion().eval()
    anchors, outputs, truths = crafted()
    criterion(outputs, anchors, truths)
    assert all(value.item() == 100 for value in criterion.state_dict().values())


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(match_iou=1.5), r'match_iou is 1.5; it must be in \[0, 1\]'),
        (dict(adjust_iou=-0.1), 'adjust_iou is -0.1'),
        (dict(weights=dict(reg=-1.0)), "weight of 'reg' is -1.0; it must be >= 0"),
        (dict(weights=dict(tem=1.0)), "no loss 'tem' to weigh; use cls, reg, start"),
    ],
)
def test_options_out_of_range_name_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        VSGNCriterion(**options)
