"""Detectors with their own losses, in pieces: the gradients that they have anyway."""

import copy

import pytest
import torch

from dr2net_mm.analysis.subjects.detectors import (
    build_detector,
    config_detector,
    detector_loss,
    detector_variant,
    random_samples,
)
from dr2net_mm.memory.in_pieces import run_in_pieces
from dr2net_mm.memory.parts import preset_parts

CONFIG = 'configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py'
SIZE, BATCH = (96, 128), 2
TWO_STAGE = dict(with_box_refine=True, as_two_stage=True)


@pytest.fixture(scope='module')
def dino(request):
    detector = config_detector(str(request.config.rootpath / CONFIG))
    return dict(detector, num_queries=20)


def deformable_detr(dino):
    detector = copy.deepcopy(dino)
    detector.pop('dn_cfg')
    head = dict(detector['bbox_head'], type='DeformableDETRHead')
    return dict(detector, type='DeformableDETR', bbox_head=head, **TWO_STAGE)


def ddq(dino):
    detector = copy.deepcopy(dino)
    return dict(
        detector,
        type='DDQDETR',
        bbox_head=dict(detector['bbox_head'], type='DDQDETRHead'),
        dense_topk_ratio=1.5,
        dqs_cfg=dict(type='nms', iou_threshold=0.8),
        **TWO_STAGE,
    )


def loss_and_gradients(model, amp=False):
    torch.manual_seed(1)
    images = torch.randn(BATCH, 3, *SIZE)
    samples = random_samples(BATCH, SIZE, model.bbox_head.num_classes)
    model.zero_grad(set_to_none=True)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
        loss = detector_loss(model, images, samples)
    loss.backward()
    return loss.detach(), {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


def relative_error(found, expected):
    """Difference of all gradients together, over their norm."""
    assert found.keys() == expected.keys()
    joined = torch.cat([g.flatten() for g in expected.values()])
    other = torch.cat([found[name].flatten() for name in expected])
    return float((joined - other).norm() / joined.norm())


@pytest.fixture(params=['dino', deformable_detr, ddq])
def model(request, dino):
    torch.manual_seed(0)
    change = request.param
    detector = dino if change == 'dino' else change(dino)
    model = build_detector(detector_variant(detector, 'dr2'))
    model.init_weights()
    return model


def test_gradients_of_the_loss_are_those_of_the_detector_as_it_is(model):
    expected_loss, expected = loss_and_gradients(model)
    parts = preset_parts(model)
    assert {part.role for part in parts} == {'neck', 'encoder', 'proposals', 'decoder'}
    keys = list(model.state_dict())
    sizes = [17 if part.cut.along_tokens else 1 for part in parts]
    run_in_pieces([part._replace(size=size) for part, size in zip(parts, sizes)])
    loss, found = loss_and_gradients(model)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    assert relative_error(found, expected) < 1e-4
    assert float(expected['encoder.layers.0.ffn.layers.0.0.weight'].norm()) > 0


def test_mixed_precision_rounds_no_more_in_pieces_than_without(dino):
    torch.manual_seed(0)
    model = build_detector(detector_variant(dino, 'dr2'))
    model.init_weights()
    _, exact = loss_and_gradients(model)
    expected_loss, expected = loss_and_gradients(model, amp=True)
    run_in_pieces([part._replace(size=17) for part in preset_parts(model)])
    loss, found = loss_and_gradients(model, amp=True)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-3, atol=0)
    rounding = relative_error(expected, exact)
    assert relative_error(found, expected) < 0.2 * rounding
