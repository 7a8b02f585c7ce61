import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from torch import nn
from torch.utils.data import DataLoader

import dr2net_mm.tasks.temporal_detection.models.end_to_end as end_to_end
from dr2net_mm.backbones import dual_residual_backbones
from dr2net_mm.engine import Dr2CoefficientHook
from tests.tasks.temporal_detection.models.end_to_end.toolbox import losses_of

LENGTH = 12


def gradients_of(model, batch):
    model.zero_grad()
    losses, _ = model.parse_losses(losses_of(model, batch))
    losses.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_the_localizer_receives_spatial_means_at_its_own_length(build, localizing):
    model, batch = build(), localizing.batch()
    losses_of(model, batch)
    (received,) = model.localizer.batches
    clips = torch.cat(batch['inputs']).float()
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1, 1)
        for values in ([120.0, 115.0, 100.0], [58.0, 57.0, 57.5])
    )
    maps = model.backbone((clips - mean) / std)
    assert maps.shape == (2, 16, 8, 2, 2)
    expected = F.interpolate(
        maps.mean((3, 4)), LENGTH, mode='linear', align_corners=False
    )
    torch.testing.assert_close(received, expected)


def test_positions_are_centers_of_cells_when_the_length_changes(build, localizing):
    """Four positions from two: 0.25·b + 0.75·a and so on, ends held."""
    model = build(
        localizer=dict(type='FeatureProbe', in_channels=1, temporal_length=4),
        backbone=dict(type='OtherMaps', shape=(1, 1, 2, 1, 1)),
        temporal_length=4,
    )
    model.backbone.forward = lambda x: torch.tensor([0.0, 8.0]).view(1, 1, 2, 1, 1)
    features = model.extract_feat(torch.zeros(1, 1, 3, 2, 4, 4))
    assert features.flatten().tolist() == [0, 2, 6, 8]


def test_features_of_the_right_length_are_left_alone(build, localizing):
    model = build(
        localizer=dict(type='FeatureProbe', temporal_length=8), temporal_length=8
    )
    clip = torch.randn(1, 3, 16, 16, 16)
    maps = model.backbone(clip)
    assert torch.equal(model.extract_feat(clip), maps.mean((3, 4)))


@pytest.mark.parametrize('reversible', [False, True])
def test_every_parameter_trains_from_raw_frames(build, localizing, reversible):
    model = build(backbone=localizing.backbone(reversible))
    gradients_of(model, localizing.batch())
    assert localizing.unused(model) == []


@pytest.mark.parametrize('kind', ['VisionTransformer', 'Dr2VisionTransformer'])
def test_a_vision_transformer_gives_its_feature_map(build, localizing, kind):
    """The norm behind its pooling has no part in it, and must not want a gradient."""
    vit = dict(
        type=kind,
        img_size=16,
        patch_size=8,
        embed_dims=16,
        depth=2,
        num_heads=2,
        num_frames=16,
        return_feat_map=True,
    )
    model, batch = build(backbone=vit), localizing.batch()
    gradients_of(model, batch)
    frames = model.data_preprocessor(copy.deepcopy(batch))['inputs'].squeeze(1)
    maps = model.backbone(frames)
    assert maps.shape == (2, 16, 8, 2, 2)
    expected = F.interpolate(
        maps.mean((3, 4)), LENGTH, mode='linear', align_corners=False
    )
    torch.testing.assert_close(model.localizer.batches[0], expected)
    assert localizing.unused(model) == []


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('freeze_norm', [False, True])
def test_reversible_training_has_the_gradients_of_stored_activations(
    build, localizing, freeze_norm, autocast
):
    batch, gradients = localizing.batch(), {}
    for backprop in ('reversible', 'stored'):
        model = build(
            backbone=localizing.backbone(
                True,
                dual_residual=dict(alpha=0.8, beta=0.3, backprop=backprop),
            ),
            freeze_norm=freeze_norm,
        )
        localizing.randomize(model)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
            gradients[backprop] = gradients_of(model, batch)
    for name, gradient in gradients['stored'].items():
        frozen = freeze_norm and name.startswith('backbone') and 'norm' in name
        assert (gradient is None) == frozen, name
        if not frozen:
            assert gradient.abs().sum() > 0, name
            assert torch.equal(gradients['reversible'][name], gradient), name


def test_coefficients_1_and_0_are_the_conventional_backbone(build, localizing):
    batch, features = localizing.batch(), []
    conventional = localizing.randomize(build())
    edited = build(
        backbone=localizing.backbone(True, dual_residual=dict(alpha=1.0, beta=0.0))
    )
    load_checkpoint_of(edited, conventional.state_dict())
    for model in (conventional, edited):
        losses_of(model.eval(), batch)
        features.append(model.localizer.batches[-1])
    # The streams are fixed-point numbers.
    torch.testing.assert_close(*features, atol=1e-4, rtol=1e-3)


def load_checkpoint_of(model, state):
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert all('dual_residual' in name for name in missing), missing
    assert not unexpected


def test_checkpoints_of_recognizers_fit_the_backbone(build, localizing, tmp_path):
    recognizer = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=localizing.backbone(),
            cls_head=dict(type='I3DHead', num_classes=3, in_channels=16),
        )
    )
    localizing.randomize(recognizer, seed=3)
    torch.save(dict(state_dict=recognizer.state_dict()), tmp_path / 'recognizer.pth')
    for reversible in (False, True):
        model = build(backbone=localizing.backbone(reversible))
        load_checkpoint(model, str(tmp_path / 'recognizer.pth'))
        for name, weights in recognizer.backbone.state_dict().items():
            assert torch.equal(model.backbone.state_dict()[name], weights), name


def test_weights_are_initialized_by_each_part(build, localizing, tmp_path):
    source = localizing.randomize(MODELS.build(localizing.backbone()), seed=5)
    torch.save(source.state_dict(), tmp_path / 'backbone.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'))
    model = build(backbone=localizing.backbone(True, init_cfg=pretrained))
    model.init_weights()
    for name, weights in source.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], weights), name


def test_a_frozen_backbone_only_extracts_features(build, localizing):
    model = build(
        backbone=localizing.backbone(True, drop_path_rate=0.5), frozen_backbone=True
    )
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    assert model.localizer.training
    gradients = gradients_of(model, localizing.batch())
    for name, gradient in gradients.items():
        assert (gradient is None) == name.startswith('backbone'), name


def test_normalization_stays_in_eval_mode_while_the_rest_trains(build, localizing):
    model = build(backbone=dict(type='BatchNormBackbone')).train()
    losses_of(model, localizing.batch())
    assert model.backbone.training
    assert int(model.backbone.norm.num_batches_tracked) == 0
    assert model.backbone.norm.weight.requires_grad
    trained = build(backbone=dict(type='BatchNormBackbone'), norm_eval=False).train()
    losses_of(trained, localizing.batch())
    assert int(trained.backbone.norm.num_batches_tracked) == 1


def test_frozen_norms_keep_their_weights(build, localizing):
    model = build(freeze_norm=True)
    gradients = gradients_of(model, localizing.batch())
    for name, gradient in gradients.items():
        assert (gradient is None) == ('norm' in name), name


def test_every_video_of_a_batch_is_answered_for(build, localizing):
    model = build().eval()
    results = model.val_step(localizing.batch(3))
    assert [result['video_name'] for result in results] == [
        'video_0',
        'video_1',
        'video_2',
    ]


def test_raw_outputs_need_no_samples(build, localizing):
    outputs = build()(torch.randn(2, 3, 16, 16, 16))
    assert outputs.shape == (2, 1, LENGTH)


def test_features_are_float32_under_autocast(build, localizing):
    model = build()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        features = model.extract_feat(torch.randn(1, 3, 16, 16, 16))
    assert features.dtype == torch.float32


def test_the_coefficient_hook_moves_the_backbone_in_a_run(localizing, tmp_path):
    """Two iterations of a real Runner, validation and checkpoint included."""
    videos = [
        dict(inputs=localizing.video(i), data_samples=sample)
        for i, sample in enumerate(localizing.batch(4)['data_samples'])
    ]
    model = localizing.model(
        dict(type='FeatureProbe'), backbone=localizing.backbone(True)
    )
    runner = Runner(
        model,
        work_dir=str(tmp_path),
        experiment_name='end_to_end_hook',
        default_scope='mmaction',
        train_dataloader=DataLoader(videos, batch_size=2, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_iter=1)],
        log_level='ERROR',
    )
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    (backbone,) = dual_residual_backbones(runner.model).values()
    assert dual_residual_backbones(runner.model) == {'backbone': backbone}
    assert (backbone.alpha, backbone.beta) == (0.3, 0.7)
    assert any(isinstance(hook, Dr2CoefficientHook) for hook in runner.hooks)
    after = runner.model.state_dict()
    assert not torch.equal(
        before['backbone.patch_embed.proj.weight'],
        after['backbone.patch_embed.proj.weight'],
    )


def test_a_train_step_updates_backbone_and_localizer(build, localizing):
    model = build()
    before = copy.deepcopy(model.state_dict())
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log = model.train_step(localizing.batch(), wrapper)
    assert float(log['loss'].detach()) > 0
    after = model.state_dict()
    for name in ('backbone.patch_embed.proj.weight', 'localizer.linear.weight'):
        assert not torch.equal(before[name], after[name]), name


def test_numbers_of_localizers_are_found_by_their_names():
    module = nn.Module()
    module.feat_dim, module.tscale = 400, 100
    assert end_to_end.first_number(module, end_to_end.CHANNEL_NAMES) == 400
    assert end_to_end.first_number(module, end_to_end.LENGTH_NAMES) == 100
    assert end_to_end.first_number(nn.Module(), end_to_end.LENGTH_NAMES) is None
