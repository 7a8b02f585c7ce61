"""Dual-residual backbones at (1, 0) become those of mmdet and mmaction."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

import dr2net_mm  # noqa: F401
from dr2net_mm.errors import UserError
from dr2net_mm.export import plain
from dr2net_mm.export.plain import check_plain, export_plain
from dr2net_mm.export.plain_config import our_classes, plain_config

SWIN = dict(
    type='Dr2SwinTransformer', embed_dims=8, depths=(2, 2), num_heads=(1, 2),
    strides=(4, 2), window_size=4, out_indices=(0, 1),
)  # fmt: skip
SWIN3D = dict(
    type='Dr2SwinTransformer3D', window_size=(4, 4, 4), out_indices=(0, 1),
    arch=dict(embed_dims=8, depths=[2, 2], num_heads=[1, 2]), patch_size=(2, 4, 4),
)  # fmt: skip
VIT = dict(
    type='Dr2VisionTransformer', img_size=16, patch_size=4, embed_dims=24, depth=2,
    num_heads=3, num_frames=4, pretrained='videomae.pth',
)  # fmt: skip
MVIT = dict(
    type='Dr2MViT', spatial_size=16, temporal_size=4, output_cls_token=False,
    arch=dict(embed_dims=8, num_layers=3, num_heads=1, downscale_indices=[1]),
)  # fmt: skip
BACKBONES = {
    'SwinTransformer': (SWIN, 'mmdet'),
    'SwinTransformer3D': (SWIN3D, 'mmaction'),
    'VisionTransformer': (VIT, 'mmaction'),
    'MViT': (MVIT, 'mmaction'),
}


def run_config(backbone, scope, **more):
    hook = dict(type='Dr2CoefficientHook', end=(1.0, 0.0), monotone=False, end_epoch=1)
    content = dict(
        default_scope=scope,
        custom_imports=dict(imports=['dr2net_mm'], allow_failed_imports=False),
        custom_hooks=[hook, dict(type='EMAHook')],
        model=dict(type='Whole', backbone=backbone),
    )
    return Config(ConfigDict({**content, **more}))


def checkpoint_of(backbone, alpha=1.0, beta=0.0):
    torch.manual_seed(3)
    backbone = {key: v for key, v in backbone.items() if key != 'pretrained'}
    model = MODELS.build(backbone)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.set_coefficients(alpha, beta)
    state = {f'backbone.{key}': value for key, value in model.state_dict().items()}
    state['head.weight'] = torch.ones(2)
    return dict(meta=dict(epoch=2, iter=4), state_dict=state)


@pytest.mark.parametrize('name', BACKBONES)
def test_the_plain_backbone_loads_strictly_and_gives_the_same_outputs(name):
    backbone, scope = BACKBONES[name]
    checkpoint = checkpoint_of(backbone)
    exported = export_plain(run_config(backbone, scope), checkpoint)
    assert exported.config.model.backbone.type == name
    assert set(exported.checkpoint['state_dict']) == {
        key for key in checkpoint['state_dict'] if 'dual_residual' not in key
    }
    assert exported.notes[0].startswith('largest difference of backbone')
    assert 'dr2' not in exported.config.pretty_text.lower()


@pytest.mark.parametrize('name', BACKBONES)
def test_the_backbone_alone_is_exported(name):
    backbone, scope = BACKBONES[name]
    cfg = run_config(backbone, scope)
    exported = export_plain(cfg, checkpoint_of(backbone), backbone_only=True)
    assert list(exported.config.model) == ['backbone']
    assert list(exported.config) == ['model']
    weights = exported.checkpoint['state_dict']
    assert 'patch_embed.projection.weight' in weights or any(
        key.startswith('patch_embed.') for key in weights
    )
    assert not any('head' in key or 'alpha' in key for key in weights)


@pytest.mark.parametrize('pair', [(1.0, 0.1), (0.4, 0.6), (0.9, 0.0)])
def test_other_coefficients_are_refused_with_the_hook_that_reaches_these(pair):
    with pytest.raises(UserError) as error:
        export_plain(run_config(SWIN, 'mmdet'), checkpoint_of(SWIN, *pair))
    message = str(error.value)
    assert f'(alpha, beta) = {pair}' in message
    assert 'end=(1.0, 0.0)' in message and 'monotone=False' in message


def test_a_checkpoint_without_coefficients_is_plain_already():
    with pytest.raises(UserError, match='of a plain network already'):
        check_plain({})


@pytest.mark.parametrize('fusion', ['mean'])
def test_a_mean_of_the_streams_is_no_plain_network(fusion):
    backbone = dict(SWIN, dual_residual=dict(fusion=fusion))
    with pytest.raises(UserError, match="fusion='mean'"):
        export_plain(run_config(backbone, 'mmdet'), checkpoint_of(backbone))


def test_a_difference_beyond_the_tolerance_is_refused(monkeypatch):
    monkeypatch.setattr(plain, 'TOLERANCE', 1e-9)
    with pytest.raises(UserError, match='nothing was written'):
        export_plain(run_config(SWIN, 'mmdet'), checkpoint_of(SWIN))


def test_a_config_of_another_network_is_refused():
    other = dict(SWIN, embed_dims=16)
    with pytest.raises(UserError, match='does not fit the config'):
        export_plain(run_config(other, 'mmdet'), checkpoint_of(SWIN))
    conventional = run_config(dict(type='SwinTransformer'), 'mmdet')
    with pytest.raises(UserError, match='config of the run'):
        export_plain(conventional, checkpoint_of(SWIN))


def test_hooks_and_loops_of_ours_give_way_to_those_of_mmengine():
    cfg = run_config(
        SWIN,
        'mmdet',
        train_cfg=dict(type='ResumableEpochLoop', max_epochs=1),
        default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=2)),
    )
    cfg.custom_hooks.append(dict(type='PreemptionHook'))
    config, notes = plain_config(cfg)
    assert config.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=1)
    assert config.default_hooks.checkpoint == dict(type='CheckpointHook', interval=2)
    assert [hook.type for hook in config.custom_hooks] == ['EMAHook']
    assert 'custom_imports' not in config
    assert any('PreemptionHook was removed' in note for note in notes)
    # What was given stays as it was.
    assert cfg.model.backbone.type == 'Dr2SwinTransformer'


def test_imports_of_others_stay():
    cfg = run_config(SWIN, 'mmdet')
    cfg.custom_imports.imports = ['dr2net_mm.engine', 'my_package']
    assert plain_config(cfg).config.custom_imports.imports == ['my_package']


def test_data_of_ours_keeps_the_import_and_is_named():
    dataset = dict(type='VideoLocalizationDataset', ann_file='a.json')
    cfg = run_config(SWIN3D, 'mmaction', train_dataloader=dict(dataset=dataset))
    config, notes = plain_config(cfg)
    assert config.custom_imports.imports == ['dr2net_mm']
    assert "train_dataloader.dataset.type='VideoLocalizationDataset'" in notes[-1]


def test_a_model_of_ours_points_to_its_backbone():
    cfg = run_config(SWIN3D, 'mmaction')
    cfg.model.type = 'EndToEndLocalizer'
    with pytest.raises(UserError, match='--backbone-only'):
        plain_config(cfg)
    exported = export_plain(cfg, checkpoint_of(SWIN3D), backbone_only=True)
    assert exported.config.model.backbone.type == 'SwinTransformer3D'


def test_a_backbone_of_the_other_library_gets_its_scope():
    config, _ = plain_config(run_config(SWIN, 'mmaction'))
    assert config.model.backbone.type == 'mmdet.SwinTransformer'


def test_pretrained_files_are_asked_for_as_the_plain_classes_understand():
    config, _ = plain_config(run_config(VIT, 'mmaction'))
    init = dict(type='Pretrained', checkpoint='videomae.pth')
    assert config.model.backbone.init_cfg == init
    assert 'pretrained' not in config.model.backbone
    config, _ = plain_config(run_config(SWIN3D, 'mmaction'))
    assert config.model.backbone.pretrained2d is False


def test_every_class_of_ours_that_a_config_names_is_known():
    names = set(our_classes())
    assert {
        'Dr2SwinTransformer', 'Dr2CoefficientHook', 'ResumableIterLoop', 'VSGN',
        'VideoLocalizationDataset', 'ANetDetectionMetric',
    } <= names  # fmt: skip
    assert 'SwinTransformer' not in names
