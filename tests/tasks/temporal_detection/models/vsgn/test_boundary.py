import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models.vsgn.boundary import (
    BoundaryAdjustment,
    BoundaryScores,
)
from dr2net_mm.tasks.temporal_detection.models.vsgn.proposals import (
    best_proposals,
    boundary_confidence,
)


def test_boundary_scores_are_start_end_and_action_of_every_cell():
    torch.manual_seed(0)
    module = BoundaryScores(4, length=16)
    finest = torch.randn(2, 4, 8)
    logits = module(finest)
    assert logits.shape == (2, 3, 16)
    x = torch.nn.functional.interpolate(
        finest, size=16, mode='linear', align_corners=True
    )
    for i, kind in enumerate(('start', 'end', 'action')):
        torch.testing.assert_close(logits[:, i], module.branches[kind](x)[:, 0])


def test_sampling_positions_by_hand():
    adjustment = BoundaryAdjustment(1, length=64, stride=2)
    # Sixteen cells (inclusive), so that the samples are two cells apart.
    proposals = torch.tensor([[[20.0, 35.0]]])
    positions = adjustment.sampling_positions(proposals)
    assert positions.tolist() == [[[[9, 10, 11], [16, 17, 18]]]]


def test_sampling_positions_stay_on_the_axis():
    adjustment = BoundaryAdjustment(1, length=64, stride=2)
    # Cut to [0, 63] first: 64 cells, samples eight cells apart.
    proposals = torch.tensor([[[-30.0, 100.0], [70.0, 90.0]]])
    positions = adjustment.sampling_positions(proposals)
    assert positions[0, 0].tolist() == [[0, 0, 4], [27, 31, 31]]
    assert positions[0, 1].tolist() == [[31, 31, 31], [31, 31, 31]]


def test_offsets_come_from_the_three_features_around_each_end():
    torch.manual_seed(0)
    adjustment = BoundaryAdjustment(4, length=16, stride=2)
    finest = torch.randn(2, 4, 8)
    proposals = torch.tensor([[[2.0, 9.0], [4.0, 14.0]], [[0.0, 15.0], [6.5, 8.0]]])
    adjusted = adjustment(finest, proposals)
    positions = adjustment.sampling_positions(proposals)
    for b in range(2):
        for n in range(2):
            for side, branch in enumerate((adjustment.start, adjustment.end)):
                around = finest[b][:, positions[b, n, side]]  # [4, 3]
                offset = branch(around[None]).squeeze()
                expected = proposals[b, n, side] + offset
                torch.testing.assert_close(adjusted[b, n, side], expected)


def test_the_gradient_of_the_second_stage_reaches_the_proposals():
    adjustment = BoundaryAdjustment(4, length=16, stride=2)
    proposals = torch.tensor([[[2.0, 9.0]]], requires_grad=True)
    adjustment(torch.randn(1, 4, 8), proposals).sum().backward()
    assert proposals.grad.tolist() == [[[1.0, 1.0]]]


def test_confidence_between_cells_is_the_mean_of_both():
    scores = torch.tensor([0.1, 0.5, 0.9])
    times = torch.tensor([0.0, 0.3, 1.0, 1.9, 2.0, 3.0, -1.0])
    expected = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 0.1])
    torch.testing.assert_close(boundary_confidence(scores, times), expected)


def test_best_proposals_are_soft_suppressed_within_their_class_only():
    segments = torch.tensor([[0.0, 10.0], [0.0, 10.0], [20.0, 30.0]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.7], [0.1, 0.6]])
    _, kept, labels = best_proposals(segments, scores, 0.5, 0.0, 100)
    lowered = 0.8 * torch.exp(torch.tensor(-2.0)).item()
    assert labels == [0, 1, 1, 0, 0]
    assert kept.tolist() == pytest.approx([0.9, 0.7, 0.6, lowered, 0.1])


def test_best_proposals_are_at_most_as_many_as_asked_for_and_have_a_length():
    segments = torch.tensor([[0.0, 1.0], [2.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    scores = torch.tensor([[0.2], [0.9], [0.3], [0.4]])
    kept, kept_scores, _ = best_proposals(segments, scores, 0.5, 0.0, 2)
    assert kept.tolist() == [[5.0, 6.0], [3.0, 4.0]]
    assert kept_scores.tolist() == pytest.approx([0.4, 0.3])
