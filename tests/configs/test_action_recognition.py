"""The rows of the paper's action-recognition tables, and their data pipelines."""

from typing import Any, Dict, Tuple

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    MODELS,
    PARAM_SCHEDULERS,
    init_default_scope,
)

ABSENT = '(absent)'
FOLDER = 'configs/action_recognition'
RECIPE = '8xb12-amp-u16-40e_sthv2-rgb'
CONVENTIONAL = f'{FOLDER}/vit-small-p16_videomae-sthv2-pre_{RECIPE}.py'
SCRATCH = f'{FOLDER}/dr2-vit-small-p16_scratch_{RECIPE}.py'
FROZEN = f'{FOLDER}/vit-small-p16_videomae-sthv2-pre_frozen_{RECIPE}.py'
SWIN = (
    f'{FOLDER}/dr2-swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py'
)
TO_DR2 = {'model.backbone.type': ('VisionTransformer', 'Dr2VisionTransformer')}
CHECKPOINT = 'checkpoints/videomae_vit-small-p16_sthv2-2400e.pth'

Changes = Dict[str, Tuple[Any, Any]]


def row(setting: str = '') -> str:
    setting = f'_{setting}' if setting else ''
    return f'{FOLDER}/dr2-vit-small-p16_videomae-sthv2-pre{setting}_{RECIPE}.py'


def residual(**options: Any) -> Changes:
    return {
        f'model.backbone.dual_residual.{name}': (ABSENT, value)
        for name, value in options.items()
    }


def hook(end_epoch: int = 20, interval: int = 2, **options: Any) -> Changes:
    scheduled = dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=end_epoch,
        interval=interval,
        **options,
    )
    return {'custom_hooks': (ABSENT, [scheduled])}


REVERSIBLE = residual(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean')
EXACT_ROWS = {
    '': {**TO_DR2, **hook()},
    'vanilla': {**TO_DR2, **residual(alpha=1.0, beta=0.1)},
    'alpha-first': {**TO_DR2, **hook(order='alpha_first')},
    'beta-first': {**TO_DR2, **hook(order='beta_first')},
    **{f'eta-{n}': {**TO_DR2, **hook(interval=n)} for n in (5, 20, 50, 100)},
}
FRESH = [
    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
]
ROWS = {
    FROZEN: {'model.backbone.type': ('VisionTransformer', 'FrozenVisionTransformer')},
    **{row(setting): changes for setting, changes in EXACT_ROWS.items()},
    **{
        row(f'{setting}_float' if setting else 'float'): {
            **changes,
            **residual(arithmetic='float'),
        }
        for setting, changes in EXACT_ROWS.items()
    },
    row('hard-finetune'): {**TO_DR2, **REVERSIBLE},
    SCRATCH: {
        **TO_DR2,
        **REVERSIBLE,
        'model.backbone.init_cfg': (ABSENT, FRESH),
        'model.backbone.init_cfg.type': ('Pretrained', ABSENT),
        'model.backbone.init_cfg.checkpoint': (CHECKPOINT, ABSENT),
        'model.backbone.init_cfg.prefix': ('backbone.', ABSENT),
    },
}


def test_every_config_of_the_folder_is_described_here(configs):
    described = {CONVENTIONAL, SWIN} | set(ROWS)
    present = (configs.root / FOLDER).glob('*.py')
    assert described == {p.relative_to(configs.root).as_posix() for p in present}


@pytest.mark.parametrize('path', ROWS)
def test_a_row_differs_from_conventional_training_only_as_named(configs, path):
    conventional, other = configs.load(CONVENTIONAL), configs.load(path)
    assert configs.difference(conventional, other) == ROWS[path]


def test_mmactions_video_swin_becomes_dual_residual_by_three_lines(configs):
    changed = configs.difference(configs.upstream_of(SWIN), configs.load(SWIN))
    assert changed == {
        'model.backbone.type': ('SwinTransformer3D', 'Dr2SwinTransformer3D'),
        'custom_imports.imports': (ABSENT, ['dr2net_mm']),
        'custom_imports.allow_failed_imports': (ABSENT, False),
        **hook(end_epoch=15),
    }


def test_the_backbone_is_the_published_vit_s(configs):
    model = configs.build(configs.load(CONVENTIONAL))
    channels, patch = 384, 2 * 16 * 16 * 3
    attention = 4 * channels**2 + 3 * channels
    feed_forward = 8 * channels**2 + 5 * channels
    norms = 4 * channels
    block = attention + feed_forward + norms
    expected = channels * (patch + 1) + 12 * block + 2 * channels
    count = sum(p.numel() for p in model.backbone.parameters())
    assert count == expected == 21_879_936
    assert model.backbone.pos_embed.shape == (1, 1568, channels)


@pytest.mark.parametrize('path', [CONVENTIONAL, row(), FROZEN])
def test_rates_fall_by_three_tenths_a_block_and_norms_do_not_decay(configs, path):
    cfg = configs.load(path)
    model = configs.build(cfg)
    optimizer = build_optim_wrapper(model, configs.optim_wrapper(cfg)).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    seen = set()
    for group in optimizer.param_groups:
        for parameter in group['params']:
            name = names[id(parameter)]
            seen.add(name)
            layer = 13
            if name.startswith('backbone.patch_embed'):
                layer = 0
            elif name.startswith('backbone.blocks'):
                layer = int(name.split('.')[2]) + 1
            assert group['lr'] == pytest.approx(3.75e-4 * 0.7 ** (13 - layer)), name
            decay = 0.05 if parameter.dim() > 1 else 0.0
            assert group['weight_decay'] == decay, name
    trained = {'backbone.fc_norm.weight', 'cls_head.fc_cls.weight'}
    assert trained <= seen
    if path == FROZEN:
        assert len(seen) == 4
    else:
        assert seen == set(names.values())


def test_the_rate_warms_up_for_five_epochs_and_falls_to_a_thousandth(configs):
    cfg = configs.load(CONVENTIONAL)
    init_default_scope('mmaction')
    optimizer = torch.optim.SGD(
        [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in (1.0, 0.5)],
        lr=1.0,
    )
    schedulers = [
        PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=optimizer, epoch_length=10)
        )
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(cfg.train_cfg.max_epochs * 10):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    first = [pair[0] for pair in rates]
    assert first[0] == pytest.approx(1e-3)
    assert first[:50] == sorted(first[:50])
    assert first[49] == pytest.approx(1.0)
    assert first[50:] == sorted(first[50:], reverse=True)
    assert first[-1] == pytest.approx(1e-3, rel=0.5)
    assert all(b == pytest.approx(0.5 * a) for a, b in rates)


def test_the_classifier_starts_a_thousand_times_smaller(configs):
    cfg = configs.load(CONVENTIONAL)
    init_default_scope('mmaction')
    head = MODELS.build(cfg.model.cls_head)
    head.init_weights()
    assert float(head.fc_cls.weight.detach().std()) == pytest.approx(2e-5, rel=0.05)
    assert float(head.fc_cls.bias.detach().abs().max()) == 0.0


@pytest.mark.parametrize(
    ('path', 'alpha', 'beta', 'arithmetic', 'fusion'),
    [
        (row(), 1.0, 0.1, 'exact', 'last'),
        (row('float'), 1.0, 0.1, 'float', 'last'),
        (row('vanilla'), 1.0, 0.1, 'exact', 'last'),
        (row('hard-finetune'), 0.0, 1.0, 'float', 'mean'),
        (SCRATCH, 0.0, 1.0, 'float', 'mean'),
        (SWIN, 1.0, 0.1, 'exact', 'last'),
    ],
)
def test_a_row_starts_with_its_coefficients_and_arithmetic(
    configs, path, alpha, beta, arithmetic, fusion
):
    backbone = configs.build(configs.load(path)).backbone
    assert (backbone.alpha, backbone.beta) == (alpha, beta)
    options = backbone.dual_residual_options
    assert (options.arithmetic, options.fusion) == (arithmetic, fusion)
    assert options.backprop == 'reversible'


def tiny(cfg: Config) -> Config:
    """The config with a network that a test can train."""
    cfg.model.backbone.pop('pretrained', None)
    cfg.model.backbone.update(init_cfg=None)
    if 'Swin' in cfg.model.backbone.type:
        arch = dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])
        cfg.model.backbone.pop('init_cfg')
        cfg.model.backbone.update(arch=arch, window_size=(2, 3, 3))
        cfg.model.cls_head.update(in_channels=128)
    else:
        sizes = dict(img_size=32, embed_dims=24, depth=2, num_heads=3)
        cfg.model.backbone.update(sizes)
        cfg.model.cls_head.update(in_channels=24)
        cfg.optim_wrapper.paramwise_cfg.num_layers = 2
    return cfg


def random_batch(frames: int, size: int) -> Dict[str, list]:
    from mmaction.structures import ActionDataSample

    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, frames, size, size)
    clips = [
        torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        for _ in range(2)
    ]
    samples = [ActionDataSample().set_gt_label(label) for label in (3, 7)]
    return dict(inputs=clips, data_samples=samples)


@pytest.mark.parametrize('path', [CONVENTIONAL, SWIN, *ROWS])
def test_a_row_takes_a_training_step(configs, path):
    cfg = tiny(configs.load(path))
    init_default_scope('mmaction')
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.cls_head.init_std = 0.02
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, configs.optim_wrapper(cfg))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    frames = 4 if path == SWIN else 16
    losses = model.train_step(random_batch(frames, 32), wrapper)
    assert torch.isfinite(losses['loss'])
    moved = {
        name for name, p in model.named_parameters() if not torch.equal(p, before[name])
    }
    assert {'cls_head.fc_cls.weight', 'cls_head.fc_cls.bias'} <= moved
    backbone = {name for name in moved if name.startswith('backbone.')}
    if path == FROZEN:
        assert backbone == {'backbone.fc_norm.weight', 'backbone.fc_norm.bias'}
    else:
        assert any('patch_embed' in name for name in backbone)
        assert len(backbone) > 0.9 * len(list(model.backbone.parameters()))
