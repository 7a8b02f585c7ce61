"""Soak: what is counted, that a sound training stands still, that a leak is found."""

import json
import subprocess
import sys
import threading

import pytest
import torch

from dr2net_mm.analysis.soak.command import main
from dr2net_mm.analysis.soak.process_gauges import CacheSize, cache_sizes
from dr2net_mm.analysis.soak.record import ALLOWED_GROWTH, judge, overgrown, soak
from dr2net_mm.analysis.soak.task import (
    BackboneTask,
    make_backbone_task,
    make_detector_task,
    varying_sizes,
)
from dr2net_mm.analysis.subjects.backbones import (
    conventional_backbone,
    named_backbone,
    reversible_backbone,
)
from dr2net_mm.backbones.base.dual_residual import MAX_PLANS
from dr2net_mm.backbones.branches.windows import window_pieces
from dr2net_mm.errors import UserError
from dr2net_mm.reversible.schedule import CoefficientSchedule
from tests.fixtures.tiny import TINY_SWIN

SWIN = dict(TINY_SWIN, depths=(1, 2))
VIDEO_SWIN = named_backbone('video-swin-t', depths=(1, 1, 1, 1), width=6)
VIDEOMAE = dict(named_backbone('videomae-s', depths=(2,), width=12), num_frames=4)
TINY_RETINANET = """
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),
    backbone=dict(
        type='Dr2SwinTransformer', embed_dims=8, depths=(1, 2), num_heads=(1, 2),
        strides=(4, 2), out_indices=(0, 1), window_size=2,
    ),
    neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1,
            ratios=[1.0], strides=[4, 8],
        ),
    ),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1, pos_weight=-1,
    ),
)
"""
COMMAND = (
    '--backbone swin-t --depths 1 1 1 1 --width 6 --img-size 32 --sizes 1 --steps 4'
).split()


def run_soak(task, epochs=3):
    schedule = CoefficientSchedule(
        start=(1.0, 0.1), end=(0.3, 0.7), end_step=2, interval=1
    )
    return soak(task, epochs, schedule)


def grown(record, warm_up=1):
    gauges = judge(record, warm_up, ALLOWED_GROWTH)
    return {gauge.name: gauge.growth for gauge in gauges if not gauge.passed}


def tiny_task(backbone=None, size=(32, 48), count=2, **settings):
    backbone = backbone or reversible_backbone(SWIN)
    settings = dict(dict(sizes=varying_sizes(size, count), batch=1), **settings)
    return make_backbone_task(backbone, **settings)


@pytest.mark.parametrize(
    'backbone, options, size',
    [
        (SWIN, dict(), (32, 48)),
        (SWIN, dict(backprop='stored'), (32, 48)),
        (SWIN, dict(memory_budget=0.5), (32, 48)),
        (VIDEO_SWIN, dict(), (4, 32, 48)),
        (VIDEO_SWIN, dict(memory_budget=0.5), (4, 32, 48)),
        (VIDEOMAE, dict(), (4, 48, 48)),
        (VIDEOMAE, dict(memory_budget=0.5), (4, 48, 48)),
    ],
)
def test_training_on_varying_sizes_leaves_the_same_bytes_after_every_epoch(
    backbone, options, size
):
    record = run_soak(tiny_task(reversible_backbone(backbone, **options), size))
    assert not grown(record)
    assert record.steps['live_bytes'][-2:] == record.steps['live_bytes'][2:4]
    assert not overgrown(record.caches)


def test_mixed_precision_leaves_nothing_either():
    assert not grown(run_soak(tiny_task(amp='bf16')))


def test_the_class_of_the_mm_stack_can_be_soaked_too():
    assert not grown(run_soak(tiny_task(conventional_backbone(SWIN))))


def test_a_detector_trains_with_its_own_loss_and_leaves_nothing(tmp_path):
    config = tmp_path / 'retinanet.py'
    config.write_text(TINY_RETINANET)
    task = make_detector_task(
        str(config),
        reversible_backbone(SWIN),
        sizes=varying_sizes((64, 64), 2),
        batch=2,
    )
    assert task.model.data_preprocessor.pad_size_divisor == 32
    assert not grown(run_soak(task))


def test_processes_that_load_data_are_gone_after_their_epoch():
    record = run_soak(tiny_task(workers=1))
    assert not grown(record)
    assert record.epochs['children'] == [0] * 3


@pytest.mark.cuda
@pytest.mark.parametrize('amp', [None, 'fp16', 'bf16'])
def test_on_a_gpu_the_allocator_says_the_same(amp):
    record = run_soak(tiny_task(device='cuda', amp=amp))
    assert not grown(record)
    assert record.steps['peak_bytes'][-1] > record.steps['live_bytes'][-1] > 0


class LeakyTask(BackboneTask):
    """Keeps something at each step."""

    def __init__(self, backbone, leak):
        super().__init__(backbone)
        self.leak, self.hoard = leak, []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        result = super().forward(inputs, data_samples, mode)
        self.hoard.append(self.leak(result))
        return result


def _thread(result):
    thread = threading.Thread(target=threading.Event().wait, args=(20,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    'leak, name, most',
    [
        (lambda result: torch.zeros(10000), 'live_bytes', 1e6),
        (lambda result: open('/dev/null'), 'open_files', 20),
        (_thread, 'threads', 20),
        (lambda result: [[] for _ in range(100)], 'objects', 1000),
    ],
    ids=['tensor', 'file', 'thread', 'objects'],
)
def test_a_leak_of_one_kind_is_found(leak, name, most):
    task = tiny_task()
    task = task._replace(model=LeakyTask(task.model.backbone, leak))
    found = grown(run_soak(task))
    assert 0 < found[name] < most
    for kept in task.model.hoard:
        if hasattr(kept, 'close'):
            kept.close()


def test_a_child_process_that_nobody_ends_is_found():
    task = tiny_task()

    def start(result):
        return subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)

    model = LeakyTask(task.model.backbone, start)
    try:
        assert grown(run_soak(task._replace(model=model)))['children'] == 2
    finally:
        for child in model.hoard:
            child.communicate()


def test_caches_are_listed_and_one_beyond_its_limit_is_named():
    task = tiny_task(reversible_backbone(SWIN, memory_budget=0.5))
    caches = cache_sizes(task.model)
    name = f'{window_pieces.__module__}.window_pieces'
    assert caches[name] == (window_pieces.cache_info().currsize, 64)
    assert caches['storage plans of backbone'] == (0, MAX_PLANS)
    over = dict(full=CacheSize(9, 9), over=CacheSize(65, 64), free=CacheSize(9, None))
    assert overgrown(over) == ['over']


def test_a_loss_that_is_not_finite_ends_the_soak():
    task = tiny_task()
    torch.nn.init.constant_(task.model.backbone.norm1.weight, float('nan'))
    with pytest.raises(UserError, match='loss is nan after 1 steps'):
        run_soak(task)


def test_sizes_differ_and_the_largest_comes_first():
    sizes = varying_sizes((8, 96, 128), 12)
    assert sizes[0] == (8, 96, 128) and len(set(sizes)) == 12
    assert all(
        frames == 8 and 48 <= height <= 96 and 64 <= width <= 128
        for frames, height, width in sizes
    )
    with pytest.raises(UserError, match='--sizes 9.*48x48.* 4 sizes'):
        varying_sizes((48, 48), 9)


def run_command_line(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main([*COMMAND, *arguments])
    return exit_info.value.code


def test_command_prints_a_table_and_writes_json_and_a_picture(tmp_path, capsys):
    picture, result = tmp_path / 'soak.png', tmp_path / 'soak.json'
    assert run_command_line('--plot', str(picture), '--json', str(result)) == 0
    printed = capsys.readouterr().out
    assert 'nothing has grown over 4 steps' in printed
    assert 'live after a step' in printed and 'window_pieces' in printed
    assert picture.read_bytes().startswith(b'\x89PNG')
    found = json.loads(result.read_text())
    assert found['passed'] and len(found['steps']['live_bytes']) == 4


def test_command_fails_when_something_grows(monkeypatch, capsys):
    hoard = []
    forward = BackboneTask.forward

    def leaking(self, *args, **kwargs):
        hoard.append(torch.zeros(2**20))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BackboneTask, 'forward', leaking)
    assert run_command_line() == 1
    printed = capsys.readouterr().out
    assert 'GROWN over 4 steps: live_bytes' in printed
    # Of 4 epochs of 1 step, the last is compared with the one before it.
    assert f'{2**22:+,}' in printed


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--steps', '3'], ['--steps 3', '4 steps']),
        (['--mode', 'conventional', '--beta', '0.5'], ['--mode conventional', 'beta']),
        (['--amp', 'fp16'], ['--amp fp16', 'bf16']),
        (['--detector'], ['--detector', 'CONFIG']),
        (['--plot', 'soak.txt'], ['soak.txt', '.png']),
        (['--sizes', '50', '--steps', '900'], ['--sizes 50', 'sizes']),
    ],
)
def test_command_refuses_what_it_cannot_do(arguments, words, capsys):
    assert run_command_line(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line
