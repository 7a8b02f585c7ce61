"""The rows of the paper's TAD tables, and runs of each kind of config at small size."""

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

ABSENT = '(absent)'
FOLDER = 'configs/tad'
RECIPE = '8xb1-amp-f768-15e_activitynet-rgb'
CONVENTIONAL = f'{FOLDER}/vsgn_swin-t_{RECIPE}.py'
FEATURE = f'{FOLDER}/vsgn_8xb4-400x256-15e_activitynet-feature.py'
TO_DR2 = {'model.backbone.type': ('SwinTransformer3D', 'Dr2SwinTransformer3D')}
EMA = dict(type='EMAHook', momentum=0.001)

Changes = Dict[str, Tuple[Any, Any]]


def row(setting: str) -> str:
    return f'{FOLDER}/vsgn_{setting}_{RECIPE}.py'


def residual(**options: Any) -> Changes:
    return {
        f'model.backbone.dual_residual.{name}': (ABSENT, value)
        for name, value in options.items()
    }


def hook(**options: Any) -> Changes:
    scheduled = dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
    )
    return {'custom_hooks': ([EMA], [EMA, {**scheduled, **options}])}


FLOAT = residual(arithmetic='float')
REVERSIBLE = residual(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean')
EXACT_ROWS = {
    '': {**TO_DR2, **hook()},
    '_vanilla': {**TO_DR2, **residual(alpha=1.0, beta=0.1)},
    '_exponential': {**TO_DR2, **hook(policy='exponential')},
    '_logarithmic': {**TO_DR2, **hook(policy='logarithmic')},
}
K400 = (
    'https://download.openmmlab.com/mmaction/v1.0/recognition/swin/'
    'swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb/'
    'swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb_'
    '20220930-241016b2.pth'
)
FRESH = [
    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
]
ROWS = {
    'swin-t_frozen': {'model.frozen_backbone': (ABSENT, True)},
    'swin-t_with-cp': {'model.backbone.with_cp': (False, True)},
    **{f'dr2-swin-t{setting}': changes for setting, changes in EXACT_ROWS.items()},
    **{
        f'dr2-swin-t{setting}_float': {**changes, **FLOAT}
        for setting, changes in EXACT_ROWS.items()
    },
    'dr2-swin-t_hard-finetune': {**TO_DR2, **REVERSIBLE},
    'dr2-swin-t_scratch': {
        **TO_DR2,
        **REVERSIBLE,
        'model.freeze_norm': (True, False),
        'model.backbone.init_cfg': (ABSENT, FRESH),
        'model.backbone.init_cfg.type': ('Pretrained', ABSENT),
        'model.backbone.init_cfg.checkpoint': (K400, ABSENT),
        'model.backbone.init_cfg.prefix': ('backbone.', ABSENT),
    },
}
HEADS = {
    f'{FOLDER}/bmn_{{}}_8xb1-amp-f768-9e_activitynet-rgb.py': 6,
    f'{FOLDER}/actionformer_{{}}_{RECIPE}.py': 10,
}


def test_every_config_of_the_folder_is_described_here(configs):
    described = {CONVENTIONAL, FEATURE} | {row(setting) for setting in ROWS}
    described |= {h.format(b) for h in HEADS for b in ('swin-t', 'dr2-swin-t')}
    # test_low_memory.py describes the others.
    present = {
        p.relative_to(configs.root).as_posix()
        for p in (configs.root / FOLDER).glob('*.py')
        if '_low-memory_' not in p.name
    }
    assert described == present


@pytest.mark.parametrize('setting', ROWS)
def test_a_row_differs_from_conventional_training_only_as_named(configs, setting):
    conventional, other = configs.load(CONVENTIONAL), configs.load(row(setting))
    assert configs.difference(conventional, other) == ROWS[setting]


@pytest.mark.parametrize(('head', 'end_epoch'), HEADS.items())
def test_other_heads_change_to_dr2net_in_the_same_way(configs, head, end_epoch):
    before = configs.load(head.format('swin-t'))
    after = configs.load(head.format('dr2-swin-t'))
    assert configs.difference(before, after) == {**TO_DR2, **hook(end_epoch=end_epoch)}


@pytest.mark.parametrize('head', HEADS)
def test_other_heads_keep_backbone_data_and_metric(configs, head):
    changed = configs.difference(
        configs.load(CONVENTIONAL), configs.load(head.format('swin-t'))
    )
    kept = ('model.backbone', 'dataset', 'val_', 'test_', 'custom_hooks')
    assert not [key for key in changed if key.startswith(kept)]
    assert not [key for key in changed if key.endswith('pipeline')]


def test_the_backbone_is_the_published_video_swin_t(configs):
    model = configs.build(configs.load(CONVENTIONAL))
    # Video Swin-T has 28.2 M parameters with the classifier of 400 classes.
    count = sum(p.numel() for p in model.backbone.parameters())
    assert count + 768 * 400 + 400 == 28_158_070


def test_the_frozen_row_trains_the_localizer_only(configs):
    model = configs.build(configs.load(row('swin-t_frozen'))).train()
    trained = {n.split('.')[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {'localizer'}
    assert not any(module.training for module in model.backbone.modules())


@pytest.mark.parametrize('setting', ['swin-t', 'dr2-swin-t', 'dr2-swin-t_scratch'])
def test_norms_of_a_pretrained_backbone_keep_their_weights(configs, setting):
    path = CONVENTIONAL if setting == 'swin-t' else row(setting)
    backbone = configs.build(configs.load(path)).backbone
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert norms
    assert {norm.weight.requires_grad for norm in norms} == {'scratch' in setting}


@pytest.mark.parametrize(
    ('path', 'rate', 'decay'),
    [(CONVENTIONAL, 1e-4, 1e-4), (row('dr2-swin-t'), 1e-4, 1e-4)]
    + [
        (head.format('dr2-swin-t'), 1e-3, decay)
        for head, decay in zip(HEADS, (1e-4, 0.05))
    ],
)
def test_the_backbone_learns_at_1e5_and_the_head_at_its_own_rate(
    configs, path, rate, decay
):
    cfg = configs.load(path)
    model = configs.build(cfg)
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = build_optim_wrapper(model, configs.optim_wrapper(cfg)).optimizer
    for group in optimizer.param_groups:
        name = names[id(group['params'][0])]
        expected = 1e-5 if name.startswith('backbone.') else rate
        assert group['lr'] == pytest.approx(expected), name
        assert group['weight_decay'] == pytest.approx(decay), name


def test_the_recipe_is_the_one_of_the_readme(configs):
    cfg = configs.load(CONVENTIONAL)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    assert cfg.train_dataloader.dataset.filter_cfg.min_relative_length == 0.01
    assert cfg.val_evaluator.classifier_top_k == 2
    assert cfg.val_evaluator.blocked_videos == cfg.val_dataloader.dataset.blocked_videos
    localizer = configs.build(cfg).localizer
    assert len(localizer.anchors) == 496
    assert (localizer.nms_sigma, localizer.max_proposals) == (0.5, 100)


def test_the_feature_config_keeps_mmactions_data_set_and_files(configs):
    changed = configs.difference(configs.upstream_of(FEATURE), configs.load(FEATURE))
    kept = ('train_dataloader.dataset.', 'val_dataloader.dataset.')
    keys = [key for key in changed if key.startswith(kept)]
    assert keys and all(key.endswith('.pipeline') for key in keys)


# Small data: three videos of 6 seconds, a bright segment in each.
FPS, FRAMES, SIDE = 10, 60, 64
SEGMENTS = {'a': (1.0, 3.0, 'run'), 'b': (2.0, 5.0, 'jump'), 'c': (0.5, 2.5, 'run')}


def write_data(folder: Path) -> None:
    """Videos, feature files, annotations and class scores, as README.md lays out."""
    root = folder / 'data' / 'ActivityNet'
    features = root / 'activitynet_feature_cuhk' / 'csv_mean_100'
    for path in (root / 'videos', root / 'annotations', root / 'classifiers', features):
        path.mkdir(parents=True)
    database, flat = {}, {}
    for name, (start, end, label) in SEGMENTS.items():
        subset = 'validation' if name == 'c' else 'training'
        annotations = [dict(segment=[start, end], label=label)]
        database[name] = dict(
            subset=subset, duration=FRAMES / FPS, annotations=annotations
        )
        flat[f'v_{name}'] = dict(
            duration_second=FRAMES / FPS,
            duration_frame=FRAMES,
            feature_frame=FRAMES,
            annotations=annotations,
        )
        write_video(root / 'videos' / f'v_{name}.mp4', start, end)
        table = np.random.default_rng(0).normal(size=(100, 400)).round(3)
        lines = [','.join(str(i) for i in range(400))]
        lines += [','.join(str(x) for x in line) for line in table]
        (features / f'v_{name}.csv').write_text('\n'.join(lines))
    save = {
        'annotations/activity_net.v1-3.min.json': dict(database=database),
        'annotations/blocked.json': [],
        'classifiers/cuhk_val_simp_7.json': {
            'class': ['jump', 'run'],
            'results': dict(c=[0.2, 0.8]),
        },
        'anet_anno_train.json': {k: v for k, v in flat.items() if k != 'v_c'},
        'anet_anno_val.json': {'v_c': flat['v_c']},
    }
    for name, content in save.items():
        (root / name).write_text(json.dumps(content))


def write_video(path: Path, start: float, end: float) -> None:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'mp4v'), FPS, (SIDE, SIDE)
    )
    for index in range(FRAMES):
        bright = start <= index / FPS < end
        frame = np.full((SIDE, SIDE, 3), 220 if bright else 40, np.uint8)
        writer.write(frame)
    writer.release()


def shrink_pipeline(pipeline: List[dict]) -> None:
    """The same transforms for 32 frames of 32 x 32 pixels."""
    for step in pipeline:
        if step['type'] == 'SampleWholeVideo':
            step['num_frames'] = 32
        elif step['type'] == 'Resize':
            step['scale'] = {256: (-1, 40), 224: (-1, 32)}[step['scale'][1]]
            if not step.get('keep_ratio', True):
                step['scale'] = (32, 32)
        elif step['type'] == 'CenterCrop':
            step['crop_size'] = 32


def shrink(configs: Any, path: str, folder: Path) -> Config:
    """A config with everything of it but its size, for two iterations on a CPU."""
    cfg = configs.load(path)
    if 'backbone' in cfg.model:
        cfg.model.backbone.update(
            arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2]),
            out_indices=(1,),
            init_cfg=None,
        )
        localizer = cfg.model.localizer
        cfg.model.temporal_length = 64
    else:
        localizer = cfg.model
    if localizer.type == 'BMN':
        localizer.update(
            temporal_dim=64, feat_dim=16, num_samples=4, hidden_dim_1d=8,
            hidden_dim_2d=4, hidden_dim_3d=8,
        )  # fmt: skip
    elif 'backbone' in cfg.model:
        localizer.update(in_channels=16, temporal_length=64, channels=64)
    else:
        localizer.update(channels=64)
    if localizer.type == 'ActionFormer':
        localizer.update(layers=(1, 1, 2))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        shrink_pipeline(loader.dataset.pipeline)
    cfg.train_cfg.update(max_epochs=1, val_begin=1)
    for scheduled in cfg.get('custom_hooks') or []:
        if scheduled['type'] == 'Dr2CoefficientHook':
            scheduled['end_epoch'] = 1
    cfg.optim_wrapper = configs.optim_wrapper(cfg)
    cfg.work_dir = str(folder / 'work')
    cfg.experiment_name = Path(path).stem
    cfg.randomness = dict(seed=0)
    return cfg


@pytest.mark.parametrize(
    'path',
    [row('dr2-swin-t'), row('swin-t_frozen')]
    + [head.format('dr2-swin-t') for head in HEADS]
    + [FEATURE],
)
def test_a_config_trains_validates_and_keeps_its_best_at_small_size(
    configs, path, tmp_path, monkeypatch
):
    write_data(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    runner = Runner.from_cfg(shrink(configs, path, tmp_path))
    runner.train()
    assert runner.iter == 2
    scalars = runner.message_hub.log_scalars
    assert {'val/average_mAP', 'val/mAP@0.50', 'val/mAP@0.95'} <= set(scalars)
    assert np.isfinite(scalars['train/loss'].current())
    assert 0 <= scalars['val/average_mAP'].current() <= 1
    best = list((tmp_path / 'work').glob('best_average_mAP_epoch_1.pth'))
    assert len(best) == 1
