import math

import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models.vsgn.anchors import (
    decode,
    encode,
    pyramid_anchors,
)
from dr2net_mm.tasks.temporal_detection.models.vsgn.head import ProposalHead

STRIDES, SCALES = (2, 4, 8, 16, 32), (3, 7.5)


def test_there_are_496_anchors_on_256_cells():
    anchors = pyramid_anchors(256, STRIDES, SCALES)
    assert anchors.shape == (2 * (128 + 64 + 32 + 16 + 8), 2) == (496, 2)
    widths = (anchors[:, 1] - anchors[:, 0] + 1).unique()
    assert sorted(widths.tolist()) == sorted(s * a for s in STRIDES for a in SCALES)


def test_anchors_are_ordered_by_level_location_and_scale():
    anchors = pyramid_anchors(8, (2, 4), SCALES)
    expected = []
    for stride in (2, 4):
        for i in range(8 // stride):
            for scale in SCALES:
                center, half = (i + 0.5) * stride, (stride * scale - 1) / 2
                expected.append([center - half, center + half])
    assert anchors.tolist() == expected
    # By hand: stride 2, location 0, center 1, six cells: [-1.5, 3.5].
    assert anchors[0].tolist() == [-1.5, 3.5]


def test_decoding_nothing_gives_the_anchors():
    anchors = pyramid_anchors(16, (2, 4), SCALES)
    torch.testing.assert_close(decode(torch.zeros_like(anchors), anchors), anchors)


def test_decode_by_hand():
    anchors = torch.tensor([[10.5, 19.5]])  # center 15, ten cells wide
    deltas = torch.tensor([[5.0, 5 * math.log(2)]])
    # Center 15 + 0.5 · 10 = 20, width 20: half of (20 - 1) on either side.
    torch.testing.assert_close(decode(deltas, anchors), torch.tensor([[10.5, 29.5]]))


def test_encode_is_the_inverse_of_decode():
    anchors = pyramid_anchors(64, (2, 4, 8), SCALES)
    generator = torch.Generator().manual_seed(0)
    starts = 60 * torch.rand(len(anchors), generator=generator)
    widths = 30 * torch.rand(len(anchors), generator=generator)
    segments = torch.stack((starts, starts + widths), dim=1)
    deltas = encode(segments, anchors)
    torch.testing.assert_close(decode(deltas, anchors), segments, rtol=0, atol=1e-4)


def test_widths_are_bounded_before_the_exponential():
    anchors = torch.tensor([[0.0, 9.0]])
    huge = decode(torch.tensor([[0.0, 1e4]]), anchors)
    assert (huge[0, 1] - huge[0, 0] + 1).item() == pytest.approx(
        10 * 1000 / 16, rel=1e-5
    )


def test_half_precision_predictions_are_decoded_in_float32():
    anchors = pyramid_anchors(16, (2,), SCALES)
    segments = decode(torch.ones(len(anchors), 2, dtype=torch.float16), anchors)
    assert segments.dtype == torch.float32


def test_the_head_answers_for_every_anchor_in_their_order():
    torch.manual_seed(0)
    head = ProposalHead(8, num_anchors=2, num_classes=3, depth=1, norm_groups=4)
    levels = [torch.randn(2, 8, 4), torch.randn(2, 8, 2)]
    logits, deltas = head(levels)
    assert logits.shape == (2, 12, 3) and deltas.shape == (2, 12, 2)
    for level, start in zip(levels, (0, 8)):
        classes = head.cls(head.cls_tower(level))  # [2, anchor · class, T]
        segments = head.reg(head.reg_tower(level))
        for location in range(level.shape[2]):
            for anchor in range(2):
                row = start + 2 * location + anchor
                picked = classes[:, 3 * anchor : 3 * anchor + 3, location]
                torch.testing.assert_close(logits[:, row], picked)
                picked = segments[:, 2 * anchor : 2 * anchor + 2, location]
                torch.testing.assert_close(deltas[:, row], picked)


def test_towers_of_the_default_head_are_those_of_the_recipe():
    head = ProposalHead()
    for tower in (head.cls_tower, head.reg_tower):
        convolutions = tower[::3]
        assert len(convolutions) == 4
        assert all(conv.weight.shape == (256, 256, 3) for conv in convolutions)
        assert all(conv.bias is None for conv in convolutions)
        assert all(norm.num_groups == 32 for norm in tower[1::3])
    assert head.cls.weight.shape == (2, 256, 3)
    assert head.reg.weight.shape == (4, 256, 3)
