"""The rows of the paper's detection tables differ in what they are about only."""

from typing import Any, Dict, Tuple

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from dr2net_mm.memory.activation_checkpoint import checkpoint_modules

ABSENT = '(absent)'
CONVENTIONAL = 'configs/dino/dino-4scale_swin-t_8xb2-12e_coco.py'
TO_DR2 = {
    'model.backbone.type': ('SwinTransformer', 'Dr2SwinTransformer'),
    'custom_imports.imports': (ABSENT, ['dr2net_mm']),
    'custom_imports.allow_failed_imports': (ABSENT, False),
}


CONVENTIONAL_L = 'configs/dino/dino-5scale_swin-l_no-cp_8xb2-12e_coco.py'
DR2_L = 'configs/dino/dino-5scale_dr2-swin-l_8xb2-12e_coco.py'


def row(setting: str) -> str:
    return f'configs/dino/dino-4scale_{setting}_8xb2-12e_coco.py'


def residual(**options: Any) -> Dict[str, Tuple[Any, Any]]:
    return {
        f'model.backbone.dual_residual.{name}': (ABSENT, value)
        for name, value in options.items()
    }


def hook(**options: Any) -> Dict[str, Tuple[Any, Any]]:
    scheduled = dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
        **options,
    )
    return {'custom_hooks': (ABSENT, [scheduled])}


def checkpointed(
    changes: Dict[str, Tuple[Any, Any]], **options: Any
) -> Dict[str, Tuple[Any, Any]]:
    """The same changes, and an ActivationCheckpointHook behind the other hooks."""
    absent, hooks = changes['custom_hooks']
    last = dict(type='ActivationCheckpointHook', **options)
    return {**changes, 'custom_hooks': (absent, [*hooks, last])}


ENCODER = ['encoder.layers']


def encoder_too(changes: Dict[str, Tuple[Any, Any]]) -> Dict[str, Tuple[Any, Any]]:
    """The same changes, and a hook that checkpoints the encoder behind the others."""
    return checkpointed(changes, modules=ENCODER)


PAPER = residual(arithmetic='float')
REVERSIBLE = residual(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean')
SWIN_T = (
    'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
    'swin_tiny_patch4_window7_224.pth'
)
ROWS = {
    'swin-t_frozen': {
        'model.backbone.frozen_stages': (ABSENT, 4),
        'find_unused_parameters': (ABSENT, True),
    },
    'dr2-swin-t': {**TO_DR2, **hook()},
    'dr2-swin-t_low-memory': checkpointed({**TO_DR2, **hook()}, preset='auto'),
    'dr2-swin-t_encoder-cp': encoder_too({**TO_DR2, **hook()}),
    'dr2-swin-t_float': {**TO_DR2, **hook(), **PAPER},
    'dr2-swin-t_alpha-first': {**TO_DR2, **hook(order='alpha_first')},
    'dr2-swin-t_beta-first': {**TO_DR2, **hook(order='beta_first')},
    'dr2-swin-t_alpha-first_float': {
        **TO_DR2,
        **hook(order='alpha_first'),
        **PAPER,
    },
    'dr2-swin-t_beta-first_float': {
        **TO_DR2,
        **hook(order='beta_first'),
        **PAPER,
    },
    'dr2-swin-t_vanilla': {**TO_DR2, **residual(alpha=1.0, beta=0.1)},
    'dr2-swin-t_vanilla_float': {
        **TO_DR2,
        **residual(alpha=1.0, beta=0.1),
        **PAPER,
    },
    'dr2-swin-t_hard-finetune': {**TO_DR2, **REVERSIBLE},
    'dr2-swin-t_scratch': {
        **TO_DR2,
        **REVERSIBLE,
        'model.backbone.init_cfg': (ABSENT, None),
        'model.backbone.init_cfg.type': ('Pretrained', ABSENT),
        'model.backbone.init_cfg.checkpoint': (SWIN_T, ABSENT),
    },
}


def test_every_four_scale_row_of_dino_is_described_here(configs):
    described = {CONVENTIONAL} | {row(setting) for setting in ROWS}
    present = (configs.root / 'configs/dino').glob('dino-4scale_*.py')
    assert described == {p.relative_to(configs.root).as_posix() for p in present}


@pytest.mark.parametrize('setting', ROWS)
def test_a_dino_row_differs_from_conventional_training_only_as_named(configs, setting):
    conventional, other = configs.load(CONVENTIONAL), configs.load(row(setting))
    assert configs.difference(conventional, other) == ROWS[setting]


def test_the_conventional_row_changes_only_backbone_and_neck_of_mmdet(configs):
    upstream = configs.upstream_of(CONVENTIONAL)
    changed = configs.difference(upstream, configs.load(CONVENTIONAL))
    changed.pop('pretrained', None)
    assert changed
    assert all(
        key.startswith('model.backbone.') or key == 'model.neck.in_channels'
        for key in changed
    )


@pytest.mark.parametrize(
    'path',
    [
        DR2_L,
        'configs/mask_rcnn/mask-rcnn_dr2-swin-t-p4-w7_fpn_1x_coco.py',
        'configs/retinanet/retinanet_dr2-swin-t-p4-w7_fpn_1x_coco.py',
    ],
)
def test_an_mmdet_config_becomes_dual_residual_by_three_lines(configs, path):
    changed = configs.difference(configs.upstream_of(path), configs.load(path))
    changed.pop('model.backbone.with_cp', None)
    assert changed == {**TO_DR2, **hook()}


def test_the_swin_l_rows_differ_only_in_the_backbone_and_its_schedule(configs):
    conventional = configs.load(CONVENTIONAL_L)
    assert conventional.model.backbone.with_cp is False
    changes = {**TO_DR2, **hook()}
    assert configs.difference(conventional, configs.load(DR2_L)) == changes
    encoder = configs.load(
        'configs/dino/dino-5scale_dr2-swin-l_encoder-cp_8xb2-12e_coco.py'
    )
    assert configs.difference(conventional, encoder) == encoder_too(changes)


@pytest.mark.parametrize('setting', ['4scale_dr2-swin-t', '5scale_dr2-swin-l'])
def test_the_checkpointed_encoder_is_one_that_the_detector_has(configs, setting):
    path = f'configs/dino/dino-{setting}_encoder-cp_8xb2-12e_coco.py'
    model = configs.build(configs.load(path))
    layers = checkpoint_modules(model, ENCODER)
    assert layers == list(model.encoder.layers) and len(layers) == 6


def test_the_conventional_backbone_is_the_published_swin_t(configs):
    backbone = configs.build(configs.load(CONVENTIONAL)).backbone
    count = sum(p.numel() for p in backbone.parameters())
    output_norms = 2 * (192 + 384 + 768)
    classifier, final_norm = 768 * 1000 + 1000, 2 * 768
    # swin_tiny_patch4_window7_224 has 28,288,354 parameters.
    assert count - output_norms == 28_288_354 - classifier - final_norm


def test_the_frozen_row_trains_no_parameter_of_its_backbone(configs):
    model = configs.build(configs.load(row('swin-t_frozen')))
    model.train()
    trainable = [
        name for name, p in model.backbone.named_parameters() if p.requires_grad
    ]
    assert trainable == []
    assert not any(
        m.training
        for m in model.backbone.modules()
        if m is not model.backbone and not isinstance(m, torch.nn.ModuleList)
    )
    assert all(p.requires_grad for p in model.encoder.parameters())


@pytest.mark.parametrize('stages', [-1, 3])
def test_fewer_frozen_stages_would_leave_the_backbone_training(configs, stages):
    cfg = configs.load(row('swin-t_frozen'))
    cfg.model.backbone.frozen_stages = stages
    backbone = configs.build(cfg).backbone
    backbone.train()
    assert any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize(
    ('setting', 'alpha', 'beta', 'arithmetic', 'fusion'),
    [
        ('dr2-swin-t', 1.0, 0.1, 'exact', 'last'),
        ('dr2-swin-t_float', 1.0, 0.1, 'float', 'last'),
        ('dr2-swin-t_vanilla', 1.0, 0.1, 'exact', 'last'),
        ('dr2-swin-t_scratch', 0.0, 1.0, 'float', 'mean'),
        ('dr2-swin-t_hard-finetune', 0.0, 1.0, 'float', 'mean'),
    ],
)
def test_a_dino_row_starts_with_its_coefficients_and_arithmetic(
    configs, setting, alpha, beta, arithmetic, fusion
):
    backbone = configs.build(configs.load(row(setting))).backbone
    assert (backbone.alpha, backbone.beta) == (alpha, beta)
    options = backbone.dual_residual_options
    assert options.arithmetic == arithmetic
    assert options.fusion == fusion
    assert options.backprop == 'reversible'


@pytest.mark.parametrize('path', [CONVENTIONAL, row('dr2-swin-t')])
def test_the_backbone_learns_at_a_tenth_of_the_rate(configs, path):
    cfg = configs.load(path)
    model = configs.build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        name = names[id(group['params'][0])]
        rate = 1e-5 if name.startswith('backbone.') else 1e-4
        assert group['lr'] == pytest.approx(rate), name
        assert group['weight_decay'] == pytest.approx(1e-4), name
