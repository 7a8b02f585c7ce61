"""The count of whole trainings against what torch's CPU allocator hands out."""

import copy
from itertools import accumulate

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch.profiler import ProfilerActivity, profile

from dr2net_mm.analysis.memory.fit.training_memory import Setting, Training
from dr2net_mm.analysis.memory.given_regions import regions_of
from dr2net_mm.analysis.subjects.detectors import (
    HEADS,
    build_detector,
    config_detector,
    detector_loss,
    detector_variant,
    samples_for,
)

DINO = 'configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py'
MASK_RCNN = 'configs/mask_rcnn/mask-rcnn_dr2-swin-t-p4-w7_fpn_1x_coco.py'
RETINANET = 'configs/retinanet/retinanet_dr2-swin-t-p4-w7_fpn_1x_coco.py'
LOCALIZER = 'configs/video_first_run/vsgn_dr2-swin3d-nano_1xb4-6e_spliced-clips.py'
RECOGNIZER = 'configs/video_first_run/dr2-swin3d-nano_1xb8-6e_spliced-clips.py'
SIZE, BATCH, BOXES = (160, 192), 2, 30
ADAMW = dict(type='AdamW', lr=1e-4)
SGD = dict(type='SGD', lr=1e-2, momentum=0.9)


def dino(root):
    return dict(config_detector(str(root / DINO)), num_queries=40)


def deformable_detr(root):
    detector = dino(root)
    detector.pop('dn_cfg')
    head = dict(detector['bbox_head'], type='DeformableDETRHead')
    two_stage = dict(with_box_refine=True, as_two_stage=True)
    return dict(detector, type='DeformableDETR', bbox_head=head, **two_stage)


def retinanet(root):
    detector = copy.deepcopy(config_detector(str(root / RETINANET)))
    detector['backbone'].update(embed_dims=12, depths=[2, 2, 2, 2])
    detector['neck'].update(in_channels=[24, 48, 96], out_channels=32)
    detector['bbox_head'].update(in_channels=32, feat_channels=32, num_classes=20)
    return detector


def mask_rcnn(root):
    detector = copy.deepcopy(config_detector(str(root / MASK_RCNN), HEADS))
    detector['backbone'].update(embed_dims=12, depths=[2, 2, 2, 2])
    detector['neck'].update(in_channels=[12, 24, 48, 96], out_channels=32)
    detector['rpn_head'].update(in_channels=32, feat_channels=32)
    head = detector['roi_head']
    head['bbox_roi_extractor']['out_channels'] = 32
    head['mask_roi_extractor']['out_channels'] = 32
    # Small, for what kernels of the CPU take inside for convolutions is not seen.
    head['mask_roi_extractor']['roi_layer']['output_size'] = 7
    head['mask_head'].update(in_channels=32, conv_out_channels=16, num_classes=20)
    head['bbox_head'].update(in_channels=32, fc_out_channels=128, num_classes=20)
    detector['train_cfg']['rpn_proposal']['max_per_img'] = 200
    detector['train_cfg']['rcnn']['mask_size'] = 14
    detector['train_cfg']['rcnn']['sampler']['num'] = 64
    return detector


def bytes_of_a_real_step(detector, optimizer, setting):
    """What a step of training takes, and the state that the optimizer keeps."""
    model = build_detector(detector_variant(detector, setting.backbone), setting.rest)
    model.init_weights()
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', optimizer=dict(optimizer))
    )
    images = torch.randn(BATCH, 3, *SIZE)
    samples = samples_for(model, BATCH, SIZE, BOXES)
    if hasattr(model, 'rpn_head'):  # which without training proposes nothing of use
        regions = [regions_of(sample, 200) for sample in samples]
        model.rpn_head.predict_by_feat = lambda *_, **__: [
            InstanceData(bboxes=found.clone()) for found in regions
        ]

    def step():
        wrapper.update_params(detector_loss(model, images, copy.deepcopy(samples)))

    step()  # makes the optimizer's state
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = sorted(
        profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()
    )
    sizes = [event.nbytes() for event in events if event.name() == '[memory]']
    kept = [
        value
        for state in wrapper.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim()
    ]
    return max(accumulate(sizes)), sum(value.nbytes for value in kept)


@pytest.mark.parametrize(
    ('make', 'optimizer', 'backbone', 'rest'),
    [
        (dino, ADAMW, 'dr2', 'pieces'),
        (deformable_detr, ADAMW, 'dr2', 'encoder'),
        (retinanet, SGD, 'conventional', ''),
        (mask_rcnn, SGD, 'checkpoint', ''),
        (mask_rcnn, ADAMW, 'dr2', 'pieces'),
    ],
)
def test_the_count_is_what_a_training_step_takes(
    request, make, optimizer, backbone, rest
):
    detector = make(request.config.rootpath)
    config = Config(dict(optim_wrapper=dict(optimizer=optimizer)))
    setting = Setting(BATCH, 1, backbone, rest)
    training = Training(config, detector, SIZE, BOXES, cuda=False)
    counted = training.count(setting)
    step, state = bytes_of_a_real_step(detector, optimizer, setting)
    assert counted.optimizer == pytest.approx(state, rel=0.01)
    above = counted.total - counted.weights - counted.optimizer
    assert above == pytest.approx(step, rel=0.05)


@pytest.mark.parametrize('path', [LOCALIZER, RECOGNIZER])
def test_models_on_videos_are_counted(request, path):
    detector = config_detector(str(request.config.rootpath / path), HEADS)
    config = Config(dict(optim_wrapper=dict(optimizer=ADAMW)))
    training = Training(config, detector, (32, 64, 64), BOXES)
    rows = [
        training.count(Setting(1, 1, mode))
        for mode in ('conventional', 'checkpoint', 'dr2')
    ]
    assert rows[0].activations > rows[1].activations > rows[2].activations
    # Every part is run: its parameters have gradients.
    assert all(
        row.gradients == pytest.approx(row.optimizer / 2, rel=0.01) for row in rows
    )


def test_more_boxes_an_average_and_accumulation_are_counted(request):
    detector = dino(request.config.rootpath)
    config = Config(dict(optim_wrapper=dict(optimizer=ADAMW)))
    setting = Setting(1, 1, 'dr2')
    few = Training(config, detector, SIZE, 4).count(setting)
    many = Training(config, detector, SIZE, 200).count(setting)
    assert many.activations > 1.2 * few.activations
    config.custom_hooks = [dict(type='EMAHook')]
    averaged = Training(config, detector, SIZE, 4).count(setting)
    assert averaged.weights == 2 * few.weights
    again = Training(config, detector, SIZE, 4).count(setting._replace(accumulate=2))
    assert again.total - averaged.total <= few.gradients
    assert again.total > again.weights + again.gradients + again.activations


def test_optimizers_of_bitsandbytes_are_counted_by_their_own_code(request):
    pytest.importorskip('bitsandbytes')
    detector = dino(request.config.rootpath)
    states = {}
    for name in ('AdamW', 'AdamW8bit'):
        config = Config(dict(optim_wrapper=dict(optimizer=dict(type=name, lr=1e-4))))
        counted = Training(config, detector, SIZE, 4).count(Setting(1, 1, 'dr2'))
        states[name] = counted.optimizer
    # Two bytes a weight in place of eight; norms and biases stay in float32.
    assert 0.25 < states['AdamW8bit'] / states['AdamW'] < 0.27
