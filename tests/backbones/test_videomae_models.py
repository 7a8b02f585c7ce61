"""mmaction's own VideoMAE models with our backbone, by the three-line edit."""

import copy
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import nn

from dr2net_mm.backbones import Dr2VisionTransformer

from mmaction.models.backbones import VisionTransformer  # isort: skip
from mmaction.structures import ActionDataSample  # isort: skip

from tests.fixtures.training import Trained, trained_step

CONVENTIONAL = "_base_ = 'mmaction::{}.py'\n"

EDITED = (
    CONVENTIONAL
    + """\
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model = dict(backbone=dict(type='Dr2VisionTransformer'))
custom_hooks = [dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=10)]
"""
)

CONFIGS = [
    'recognition/videomae/vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400',
    'recognition/videomae/vit-large-p16_videomae-k400-pre_16x4x1_kinetics-400',
    'recognition/videomaev2/vit-small-p16_videomaev2-vit-g-dist-k710-pre_16x4x1_kinetics-400',
    'recognition/videomaev2/vit-base-p16_videomaev2-vit-g-dist-k710-pre_16x4x1_kinetics-400',
]

#: Boxes and actions of persons in videos.
AVA = (
    'detection/videomae/'
    'vit-base-p16_videomae-k400-pre_8xb8-16x4x1-20e-adamw_ava-kinetics-rgb'
)

NARROW_VIT = dict(img_size=32, embed_dims=24, depth=2, num_heads=3)

#: mmaction finetunes VideoMAE with decaying rates, in its AVA configs.
LAYER_DECAY = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(decay_rate=0.75, decay_type='layer_wise', num_layers=2),
)


class VideoModels:
    """Narrow versions of mmaction's configs, with and without the edit."""

    def __init__(self, vit, folder) -> None:
        self.vit, self.folder = vit, folder

    def build(self, name: str, text: str = EDITED, **backbone: Any) -> nn.Module:
        path = self.folder / f'config_{len(list(self.folder.iterdir()))}.py'
        path.write_text(text.format(name), encoding='utf-8')
        config = Config.fromfile(path)
        config.model.backbone.update(NARROW_VIT, **backbone)
        if name == AVA:
            config.model.init_cfg = None
            config.model.roi_head.bbox_head.in_channels = 24
        else:
            config.model.cls_head.update(in_channels=24, num_classes=5)
        init_default_scope('mmaction')
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        model.init_weights()
        self.vit.randomize(model.backbone)
        return model.train()

    def inputs(self) -> dict:
        generator = torch.Generator().manual_seed(0)
        shape = (1, 3, 16, 32, 32)
        return dict(
            inputs=[
                torch.randint(256, shape, generator=generator, dtype=torch.uint8)
                for _ in range(3)
            ],
            data_samples=[ActionDataSample().set_gt_label(i) for i in (0, 3, 4)],
        )

    def persons(self) -> dict:
        """Inputs of a detector: clips, persons and their actions."""
        boxes = torch.tensor([[2.0, 2.0, 30.0, 20.0], [5.0, 5.0, 20.0, 30.0]])
        samples = []
        for _ in range(3):
            sample = ActionDataSample(metainfo=dict(img_shape=(32, 32)))
            labels = torch.eye(81)[[3, 7]]
            sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
            sample.proposals = InstanceData(bboxes=boxes.clone(), scores=torch.ones(2))
            samples.append(sample)
        clips = [clip[0] for clip in self.inputs()['inputs']]
        return dict(inputs=clips, data_samples=samples)

    def train_step(self, model: nn.Module, wrapper: OptimWrapper) -> Trained:
        inputs = self.persons() if hasattr(model, 'roi_head') else self.inputs()
        return trained_step(model, inputs, wrapper)


@pytest.fixture(scope='module')
def models(vit, tmp_path_factory):
    return VideoModels(vit, tmp_path_factory.mktemp('configs'))


@pytest.mark.parametrize('name', [*CONFIGS, AVA])
def test_a_model_trains_by_the_three_line_edit(models, name):
    results = {}
    for text, kind in (
        (CONVENTIONAL, VisionTransformer),
        (EDITED, Dr2VisionTransformer),
    ):
        model = models.build(name, text)
        assert type(model.backbone) is kind
        before = {key: value.clone() for key, value in model.named_parameters()}
        wrapper = build_optim_wrapper(model, copy.deepcopy(LAYER_DECAY))
        results[kind] = models.train_step(model, wrapper)
        for key, value in model.named_parameters():
            assert not torch.equal(value, before[key]), key
    conventional, ours = results.values()
    assert ours.losses.keys() == conventional.losses.keys()
    assert ours.gradients.keys() == conventional.gradients.keys()
    assert all(torch.isfinite(value).all() for value in ours.gradients.values())


def test_at_one_and_zero_a_recognizer_trains_as_mmactions(models):
    results = []
    for text, options in (
        (CONVENTIONAL, {}),
        (EDITED, dict(dual_residual=dict(alpha=1, beta=0))),
    ):
        model = models.build(CONFIGS[0], text, **options)
        wrapper = build_optim_wrapper(model, copy.deepcopy(LAYER_DECAY))
        results.append(models.train_step(model, wrapper))
    conventional, ours = results
    for key, value in conventional.losses.items():
        torch.testing.assert_close(ours.losses[key], value, rtol=1e-4, atol=1e-4)
    difference = reference = 0.0
    for key, gradient in conventional.gradients.items():
        difference += float((ours.gradients[key] - gradient).square().sum())
        reference += float(gradient.square().sum())
    assert (difference / reference) ** 0.5 < 1e-3


def test_reversible_and_stored_backbones_train_a_recognizer_bit_for_bit(models):
    results = []
    for backprop in ('reversible', 'stored'):
        model = models.build(
            CONFIGS[1],
            drop_path_rate=0.3,
            dual_residual=dict(backprop=backprop, chunk=40),
        )
        wrapper = build_optim_wrapper(model, copy.deepcopy(LAYER_DECAY))
        results.append(models.train_step(model, wrapper))
    reversible, stored = results
    assert torch.equal(reversible.losses['loss'], stored.losses['loss'])
    for key, gradient in stored.gradients.items():
        assert torch.equal(reversible.gradients[key], gradient), key


def test_layers_decay_as_those_of_mmactions_backbone(models):
    groups = []
    for text in (CONVENTIONAL, EDITED):
        model = models.build(CONFIGS[0], text, init_values=0.1)
        wrapper = build_optim_wrapper(model, copy.deepcopy(LAYER_DECAY))
        groups.append(
            [
                {key: value for key, value in group.items() if key != 'params'}
                for group in wrapper.optimizer.param_groups
            ]
        )
    assert groups[0] == groups[1]
    rates = {group['group_name']: group['lr_scale'] for group in groups[1]}
    assert rates['layer_0_decay'] == 0.75**3 and rates['layer_3_decay'] == 1


def test_a_trained_recognizer_of_mmaction_loads_whole_and_predicts(models, tmp_path):
    conventional = models.build(CONFIGS[0], CONVENTIONAL).eval()
    path = str(tmp_path / 'kinetics.pth')
    torch.save(dict(state_dict=conventional.state_dict()), path)
    model = models.build(CONFIGS[0], dual_residual=dict(alpha=1, beta=0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        load_checkpoint(model, path, strict=True)
        scores = [
            torch.stack([sample.pred_score for sample in each.test_step(inputs)])
            for each, inputs in (
                (conventional, models.inputs()),
                (model, models.inputs()),
            )
        ]
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-3, atol=1e-4)
    assert float((scores[0][0] - scores[0][1]).abs().max()) > 1e-3
