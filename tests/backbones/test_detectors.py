"""mmdet's own detectors with our backbone, by the three-line edit of their configs."""

import copy
import logging
from typing import Any, Dict, Tuple

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import get_state_dict, save_checkpoint, weights_to_cpu
from torch import nn

from dr2net_mm.backbones import Dr2SwinTransformer, dual_residual_backbones
from tests.fixtures.training import Trained, trained_step

CONVENTIONAL = "_base_ = 'mmdet::{}.py'\n"

EDITED = (
    CONVENTIONAL
    + """\
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model = dict(backbone=dict(type='Dr2SwinTransformer', with_cp=False))
custom_hooks = [dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=10)]
"""
)

NARROW_SWIN = {
    'embed_dims': 16,
    'depths': [2, 2, 2, 2],
    'num_heads': [1, 2, 4, 8],
    'window_size': 7,
    'convert_weights': False,
    'init_cfg': None,
}
WIDTHS = [16, 32, 64, 128]

NARROW = {
    'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco': {
        'neck': dict(in_channels=WIDTHS, out_channels=16),
        'rpn_head': dict(in_channels=16, feat_channels=16),
        'roi_head': dict(
            bbox_roi_extractor=dict(out_channels=16),
            bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=10),
            mask_roi_extractor=dict(out_channels=16),
            mask_head=dict(in_channels=16, conv_out_channels=16, num_classes=10),
        ),
        'train_cfg': dict(
            rpn_proposal=dict(max_per_img=30), rcnn=dict(sampler=dict(num=30))
        ),
    },
    'swin/retinanet_swin-t-p4-w7_fpn_1x_coco': {
        'neck': dict(in_channels=WIDTHS[1:], out_channels=16),
        'bbox_head': dict(in_channels=16, feat_channels=16, num_classes=10),
    },
    'dino/dino-5scale_swin-l_8xb2-12e_coco': {
        # Transformers stay 256 wide, which mmdet's encoding of boxes is written for.
        'num_queries': 12,
        'neck': dict(in_channels=WIDTHS),
        'encoder': dict(
            num_layers=1, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=32))
        ),
        'decoder': dict(
            num_layers=2, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=32))
        ),
        'bbox_head': dict(num_classes=10),
        'dn_cfg': dict(group_cfg=dict(num_dn_queries=10)),
        'test_cfg': dict(max_per_img=20),
    },
}
MASK_RCNN, RETINANET, DINO = NARROW


class Bfloat16OptimWrapper(OptimWrapper):
    """MMEngine's AmpOptimWrapper refuses a machine without an accelerator."""

    def optim_context(self, model: nn.Module):
        return torch.autocast('cpu', dtype=torch.bfloat16)


class Detectors:
    """Narrow versions of mmdet's configs, with and without the edit."""

    def __init__(self, swin, folder) -> None:
        self.swin, self.folder = swin, folder
        self.parsed: Dict[Tuple[str, str], Config] = {}

    def config(self, name: str, text: str = EDITED, **backbone: Any) -> Config:
        if (name, text) not in self.parsed:
            path = self.folder / f'config_{len(self.parsed)}.py'
            path.write_text(text.format(name), encoding='utf-8')
            self.parsed[name, text] = Config.fromfile(path)
        config = copy.deepcopy(self.parsed[name, text])
        narrow = dict(NARROW[name], backbone=dict(NARROW_SWIN, **backbone))
        config.merge_from_dict(dict(model=narrow))
        return config

    def build(self, config: Config) -> nn.Module:
        init_default_scope('mmdet')
        torch.manual_seed(0)
        # Detectors write into the config that they are built from.
        model = MODELS.build(copy.deepcopy(config.model))
        model.init_weights()
        self.swin.randomize(model.backbone)
        return model.train()

    def inputs(self, name: str) -> dict:
        return demo_mm_inputs(
            2,
            [(3, 64, 76), (3, 60, 88)],
            num_items=[3, 2],
            with_mask=name == MASK_RCNN,
        )

    def train_step(self, name: str, model: nn.Module, wrapper: OptimWrapper) -> Trained:
        return trained_step(model, self.inputs(name), wrapper)


@pytest.fixture(scope='module')
def detectors(swin, tmp_path_factory):
    return Detectors(swin, tmp_path_factory.mktemp('configs'))


@pytest.mark.parametrize('name', NARROW)
def test_a_detector_trains_by_the_three_line_edit(detectors, name, tmp_path):
    results = {}
    for text, kind in ((CONVENTIONAL, SwinTransformer), (EDITED, Dr2SwinTransformer)):
        config = detectors.config(name, text, with_cp=False)
        model = detectors.build(config)
        assert type(model.backbone) is kind
        before = {key: value.clone() for key, value in model.state_dict().items()}
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        results[kind] = detectors.train_step(name, model, wrapper)
    conventional, ours = results.values()
    assert ours.losses.keys() == conventional.losses.keys()
    assert all(torch.isfinite(value).all() for value in ours.losses.values())
    assert ours.gradients.keys() == conventional.gradients.keys()
    names = {key for key, _ in model.backbone.named_parameters()}
    reached = {key[9:] for key in ours.gradients if key.startswith('backbone.')}
    assert names == reached
    assert all(torch.isfinite(value).all() for value in ours.gradients.values())
    for key, value in model.backbone.named_parameters():
        assert not torch.equal(value, before[f'backbone.{key}']), key
    model.backbone.set_coefficients(0.85, 0.25)
    path = str(tmp_path / 'detector.pth')
    save_checkpoint(dict(state_dict=weights_to_cpu(get_state_dict(model))), path)
    state = torch.load(path, weights_only=True)['state_dict']
    assert float(state['backbone.dual_residual.alpha']) == 0.85
    assert float(state['backbone.dual_residual.beta']) == 0.25
    other = detectors.build(config)
    load_checkpoint(other, path, strict=True)
    (backbone,) = dual_residual_backbones(other).values()
    assert (backbone.alpha, backbone.beta) == (0.85, 0.25)


@pytest.mark.parametrize('name', NARROW)
def test_a_trained_detector_of_mmdet_loads_whole(detectors, name, tmp_path, caplog):
    conventional = detectors.build(detectors.config(name, CONVENTIONAL))
    path = str(tmp_path / 'coco.pth')
    save_checkpoint(
        dict(meta={}, state_dict=weights_to_cpu(get_state_dict(conventional))), path
    )
    config = detectors.config(name, dual_residual=dict(alpha=1, beta=0))
    torch.manual_seed(1)
    model = MODELS.build(config.model)
    logger = logging.getLogger('test_detectors')
    with caplog.at_level(logging.INFO, logger=logger.name):
        load_checkpoint(model, path, strict=True, logger=logger)
    assert 'do not match' not in caplog.text
    image = torch.randn(1, 3, 64, 76)
    with torch.no_grad():
        wanted = conventional.eval().extract_feat(image)
        for one, other in zip(model.eval().extract_feat(image), wanted):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_at_one_and_zero_a_detector_trains_as_the_conventional_one(detectors):
    # RetinaNet assigns boxes to anchors by their places alone, so that its losses
    # and gradients depend on the features continuously.
    results = []
    for text, options in (
        (CONVENTIONAL, {}),
        (EDITED, dict(dual_residual=dict(alpha=1, beta=0))),
    ):
        config = detectors.config(RETINANET, text, drop_path_rate=0.0, **options)
        model = detectors.build(config)
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        results.append(detectors.train_step(RETINANET, model, wrapper))
    conventional, ours = results
    for key, value in conventional.losses.items():
        torch.testing.assert_close(ours.losses[key], value, rtol=1e-4, atol=1e-5)
    difference = reference = 0.0
    for key, gradient in conventional.gradients.items():
        difference += float((ours.gradients[key] - gradient).square().sum())
        reference += float(gradient.square().sum())
    assert (difference / reference) ** 0.5 < 1e-3


# mmcv's NMS, which Mask R-CNN trains with, takes no bfloat16 on the CPU.
@pytest.mark.parametrize(
    'name, amp', [(MASK_RCNN, False), (RETINANET, True), (DINO, True)]
)
def test_reversible_and_stored_backbones_train_a_detector_bit_for_bit(
    detectors, name, amp
):
    results = []
    for backprop in ('reversible', 'stored'):
        options = dict(backprop=backprop, chunk=200)
        model = detectors.build(detectors.config(name, dual_residual=options))
        kind = Bfloat16OptimWrapper if amp else OptimWrapper
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        results.append(detectors.train_step(name, model, kind(optimizer)))
    reversible, stored = results
    assert reversible.gradients.keys() == stored.gradients.keys()
    for key, value in stored.losses.items():
        assert torch.equal(reversible.losses[key], value), key
    for key, gradient in stored.gradients.items():
        assert torch.equal(reversible.gradients[key], gradient), key


def test_frozen_backbones_train_the_rest_of_a_detector(detectors):
    model = detectors.build(detectors.config(RETINANET, frozen_stages=4))
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-4
    )
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad == (not key.startswith('backbone.'))
    model.train_step(detectors.inputs(RETINANET), OptimWrapper(optimizer))


@pytest.mark.parametrize('name', NARROW)
def test_a_detector_predicts_after_the_edit(detectors, name):
    model = detectors.build(detectors.config(name)).eval()
    with torch.no_grad():
        results = model.test_step(detectors.inputs(name))
    assert len(results) == 2
    for result in results:
        assert torch.isfinite(result.pred_instances.scores).all()
