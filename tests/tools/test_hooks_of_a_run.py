"""Hooks, evaluators and options of a dual-residual detector, through the tools."""

import re
from importlib.util import find_spec

import pytest
import torch

from dr2net_mm.backbones.base.dual_residual import dual_residual_backbones
from dr2net_mm.launch import launch

pytestmark = pytest.mark.usefixtures('configs_as_they_are')

BACKBONE = """
model['backbone'] = dict(
    type='Dr2SwinTransformer', embed_dims=8, depths=(1, 1, 1),
    num_heads=(1, 2, 4), strides=(4, 2, 2), out_indices=(0, 1, 2), window_size=2,
)
model['neck'].update(in_channels=[8, 16, 32])
model['bbox_head']['anchor_generator']['strides'] = [4, 8, 16]
train_cfg.update(max_epochs=3)
custom_hooks = [dict(type='Dr2CoefficientHook', end_epoch=2, interval=1)]
"""
EMA = "custom_hooks.append(dict(type='EMAHook', momentum=0.1))\n"
TWO_SETS = """
train_cfg.update(max_epochs=2, val_interval=1)
one = dict(val_dataloader['dataset'])
val_dataloader['dataset'] = dict(type='ConcatDataset', datasets=[one, one])
metric = dict(val_evaluator)
val_evaluator = dict(
    type='MultiDatasetsEvaluator', metrics=[metric, metric],
    dataset_prefixes=['day', 'night'],
)
default_hooks['checkpoint'] = dict(
    type='CheckpointHook', interval=1, save_best='night/coco/bbox_mAP', rule='greater'
)
"""


@pytest.fixture
def dr2_run(toy_run):
    """The toy run with a dual-residual backbone and a coefficient hook."""
    toy_run.config.write_text(toy_run.config.read_text() + BACKBONE)
    return toy_run


@pytest.fixture
def tested_with(monkeypatch):
    """(alpha, beta) of each test run, at its last iteration."""
    found = []
    build = launch.build_runner

    def building(cfg, purpose, on_first_iteration):
        def note():
            on_first_iteration()
            (backbone,) = dual_residual_backbones(runner.model).values()
            if purpose == 'test':
                found.append((backbone.alpha, backbone.beta))

        runner = build(cfg, purpose, note)
        return runner

    monkeypatch.setattr(launch, 'build_runner', building)
    return lambda: found[-1]


def saved_coefficients(run, name, key='state_dict', prefix=''):
    saved = torch.load(str(run.work_dir / name), map_location='cpu', weights_only=False)
    start = f'{prefix}backbone.dual_residual.'
    return tuple(float(saved[key][f'{start}{part}']) for part in ('alpha', 'beta'))


@pytest.mark.parametrize('average', ['', EMA], ids=['weights', 'average'])
def test_a_checkpoint_is_tested_at_the_coefficients_it_was_trained_to(
    dr2_run, train, evaluate, tested_with, average
):
    dr2_run.config.write_text(dr2_run.config.read_text() + average)
    assert train(dr2_run) == 0
    # An epoch has 2 iterations; the end point is reached after 4.
    expected = dict(epoch_1=(1 - 0.7 / 4, 0.1 + 0.6 / 4), epoch_3=(0.3, 0.7))
    for name, values in expected.items():
        assert saved_coefficients(dr2_run, f'{name}.pth') == pytest.approx(values)
        assert evaluate(dr2_run, str(dr2_run.work_dir / f'{name}.pth')) == 0
        assert tested_with() == pytest.approx(values)
    if average:
        values = saved_coefficients(dr2_run, 'epoch_1.pth', 'ema_state_dict', 'module.')
        assert values == pytest.approx(expected['epoch_1'])


def test_the_best_checkpoint_of_two_validation_sets_has_its_own_coefficients(
    dr2_run, train, evaluate, tested_with, capfd
):
    dr2_run.config.write_text(dr2_run.config.read_text() + EMA + TWO_SETS)
    assert train(dr2_run) == 0
    log = ''.join(capfd.readouterr())
    assert 'day/coco/bbox_mAP' in log and 'night/coco/bbox_mAP' in log
    (best,) = dr2_run.work_dir.glob('best_*.pth')
    epoch = int(re.fullmatch(r'best_night_coco_bbox_mAP_epoch_(\d).pth', best.name)[1])
    expected = saved_coefficients(dr2_run, f'epoch_{epoch}.pth')
    assert saved_coefficients(dr2_run, best.name) == expected
    assert evaluate(dr2_run, str(best)) == 0
    assert tested_with() == expected


def test_options_change_the_coefficients_of_a_model_without_hook(dr2_run, train):
    options = ['custom_hooks=[]', 'train_cfg.max_epochs=1']
    for name, value in dict(alpha=0.5, beta=0.25).items():
        options.append(f'model.backbone.dual_residual.{name}={value}')
    assert train(dr2_run, '--cfg-options', *options) == 0
    assert saved_coefficients(dr2_run, 'epoch_1.pth') == (0.5, 0.25)


def test_options_change_one_argument_of_a_hook(dr2_run, train):
    options = [
        'custom_hooks.0.end=(0.2,0.9)',
        'custom_hooks.0.end_epoch=1',
        'train_cfg.max_epochs=2',
    ]
    assert train(dr2_run, '--cfg-options', *options) == 0
    assert saved_coefficients(dr2_run, 'epoch_2.pth') == (0.2, 0.9)


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('model.backbone.dual_residual.alhpa=0.5', ['alhpa', 'alpha']),
        ('model.backbone.dual_residual.alpha=2', ['alpha', '2', '[0, 1]']),
        ('custom_hooks.0.ned=(0.2,0.9)', ["did you mean 'end'?"]),
        ('custom_hooks.0.end=(0.2,9)', ['end', '9', '[0, 1]']),
        ('custom_hooks.0.end_epoch=9', ['end_epoch=9', '3 epochs']),
        ('custom_hooks.0.end_iter=2', ['end_epoch', 'end_iter', 'exactly one']),
        ('custom_hooks.1.end_iter=2', ['custom_hooks.1']),
        ('custom_hooks.0.type=EMAHook', ['EMAHook', 'end_epoch']),
        ('vis_backends.0.type=NoVisBackend', ['vis_backends']),
        ('visualizer.vis_backends=[LocalVisBackend]', ['vis_backends']),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_refused(
    dr2_run, train, error_line, option, words
):
    assert train(dr2_run, '--cfg-options', option) == 2
    line = error_line()
    for word in words:
        assert word in line


def test_a_second_coefficient_hook_is_refused(dr2_run, train, error_line):
    dr2_run.config.write_text(dr2_run.config.read_text() + 'custom_hooks *= 2\n')
    assert train(dr2_run) == 2
    assert '2 hooks of type Dr2CoefficientHook' in error_line()


@pytest.mark.skipif(find_spec('wandb') is not None, reason='wandb is installed')
def test_a_visualization_backend_that_is_not_installed_is_named(
    dr2_run, train, error_line
):
    backends = "visualizer['vis_backends'] = [dict(type='WandbVisBackend')]\n"
    dr2_run.config.write_text(dr2_run.config.read_text() + backends)
    assert train(dr2_run) == 2
    assert 'pip install wandb' in error_line()
