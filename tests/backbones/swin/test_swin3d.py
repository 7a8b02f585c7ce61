"""Arguments and weights of ``Dr2SwinTransformer3D``, against mmaction's class."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.backbones import Dr2SwinTransformer, Dr2SwinTransformer3D

from mmaction.models.backbones import SwinTransformer3D  # isort: skip


def test_it_is_a_video_swin_that_the_root_registry_builds():
    model = MODELS.build(dict(type='Dr2SwinTransformer3D', arch='tiny'))
    assert isinstance(model, Dr2SwinTransformer3D)
    assert isinstance(model, SwinTransformer3D)
    assert (model.alpha, model.beta) == (1.0, 0.1)
    assert model.dual_residual_options.backprop == 'reversible'


def test_setting_the_mode_returns_the_backbone(video_swin):
    model = video_swin.build()
    assert model.train() is model and model.training
    assert model.eval() is model and not model.training


def test_only_the_coefficients_are_added_to_the_state_dict(video_swin):
    keys = list(video_swin.plain().state_dict())
    found = list(video_swin.build().state_dict())
    added = ['dual_residual.alpha', 'dual_residual.beta']
    assert sorted(found) == sorted(keys + added)


@pytest.mark.parametrize('patch_size', [(2, 4, 4), (1, 4, 4), (2, 2, 2)])
@pytest.mark.parametrize(
    'arguments',
    [
        {},
        dict(patch_norm=False),
        dict(qkv_bias=False),
        dict(qk_scale=0.3),
        dict(mlp_ratio=2),
        dict(act_cfg=dict(type='ReLU')),
        dict(norm_cfg=dict(type='LN', eps=1e-3)),
        dict(window_size=(8, 7, 7)),
        dict(out_after_downsample=True),
        dict(out_indices=(1,)),
        dict(out_indices=(0, 1, 2)),
    ],
    ids=lambda arguments: next(iter(arguments), 'default'),
)
def test_arguments_of_mmactions_swin_mean_the_same(video_swin, arguments, patch_size):
    arguments = dict(arguments, patch_size=patch_size)
    model = video_swin.build(**arguments, dual_residual=dict(alpha=1, beta=0))
    plain = video_swin.plain(model, **arguments)
    video = video_swin.video(9, 22, 19, batch=2)
    with torch.no_grad():
        found, wanted = model(video), plain(video)
    assert type(found) is type(wanted)
    if isinstance(found, torch.Tensor):
        found, wanted = [found], [wanted]
    assert [one.shape for one in found] == [other.shape for other in wanted]
    for one, other in zip(found, wanted):
        assert one.is_contiguous()
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def frozen_names(model, frozen_stages):
    prefixes = ['patch_embed.'] if frozen_stages >= 0 else []
    prefixes += [f'layers.{i}.' for i in range(frozen_stages)]
    names = [name for name, _ in model.named_parameters()]
    return {name for name in names if name.startswith(tuple(prefixes))}


@pytest.mark.parametrize('frozen_stages', range(-1, 4))
def test_frozen_stages_freeze_what_mmaction_freezes(video_swin, frozen_stages):
    steps, models = [], []
    for backprop in ('reversible', 'stored'):
        model = video_swin.build(
            frozen_stages=frozen_stages,
            drop_path_rate=0.3,
            drop_rate=0.1,
            dual_residual=dict(backprop=backprop),
        ).train()
        models.append(model)
        steps.append(video_swin.step(model, model, video_swin.video()))
    video_swin.assert_bitwise_equal(*steps)
    plain = video_swin.plain(
        frozen_stages=frozen_stages, drop_path_rate=0.3, drop_rate=0.1
    )
    plain.train()
    found = {name: module.training for name, module in models[0].named_modules()}
    for name, module in plain.named_modules():
        assert found[name] == module.training, name
    frozen = frozen_names(plain, frozen_stages)
    assert frozen == {n for n, p in plain.named_parameters() if not p.requires_grad}
    for name, _ in plain.named_parameters():
        assert (steps[0].gradients[name] is None) == (name in frozen), name


@pytest.mark.parametrize('frozen_stages', range(3))
def test_frozen_stages_train_on_videos_that_need_no_gradient(video_swin, frozen_stages):
    gradients = []
    for backprop in ('reversible', 'stored'):
        model = video_swin.build(
            frozen_stages=frozen_stages, dual_residual=dict(backprop=backprop)
        ).train()
        video_swin.randomize(model)
        model(video_swin.video())[-1].square().mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    found, wanted = gradients
    with_gradient = {name for name, gradient in wanted.items() if gradient is not None}
    assert with_gradient and {n for n, g in found.items() if g is not None} == (
        with_gradient
    )
    for name in with_gradient:
        assert torch.equal(found[name], wanted[name]), name


def save_2d_checkpoint(swin, path):
    """A checkpoint as Swin's authors publish it, of a narrow 2-D Swin."""
    model = Dr2SwinTransformer(
        embed_dims=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=3
    )
    state = {}
    for key, value in swin.randomize(model).state_dict().items():
        if key.startswith(('dual_residual.', 'norm')):
            continue
        key = key.replace('stages.', 'layers.').replace('attn.w_msa', 'attn')
        key = key.replace('projection', 'proj').replace('ffn.layers.0.0', 'mlp.fc1')
        state[key.replace('ffn.layers.1', 'mlp.fc2')] = value
    state['norm.weight'], state['norm.bias'] = torch.ones(128), torch.zeros(128)
    torch.save(dict(model=state), path)


def test_weights_of_an_image_swin_are_inflated_as_in_mmaction(
    swin, video_swin, tmp_path
):
    path = str(tmp_path / 'swin_2d.pth')
    save_2d_checkpoint(swin, path)
    states = []
    for build in (video_swin.build, video_swin.plain):
        model = build(depths=(2, 2, 2, 2), pretrained=path, pretrained2d=True)
        model.init_weights()
        states.append(model.state_dict())
    for key, value in states[1].items():
        assert torch.equal(states[0][key], value), key
    image = torch.load(path)['model']['patch_embed.proj.weight']
    assert torch.equal(states[0]['patch_embed.proj.weight'].sum(2), image)


def test_without_a_checkpoint_the_weights_are_mmactions_random_ones(video_swin):
    states = []
    for build, inflate in ((Dr2SwinTransformer3D, True), (SwinTransformer3D, False)):
        torch.manual_seed(3)
        model = build(**video_swin.arguments(pretrained2d=inflate))
        model.init_weights()
        states.append(model.state_dict())
    for key, value in states[1].items():
        assert torch.equal(states[0][key], value), key


def test_rates_and_decay_of_mmactions_recipe_go_to_the_same_parameters(video_swin):
    groups = []
    for build in (video_swin.build, video_swin.plain):
        model = nn.ModuleDict(dict(backbone=build(), cls_head=nn.Linear(4, 2)))
        wrapper = build_optim_wrapper(
            model,
            dict(
                constructor='mmaction.SwinOptimWrapperConstructor',
                optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.02),
                paramwise_cfg=dict(
                    relative_position_bias_table=dict(decay_mult=0.0),
                    norm=dict(decay_mult=0.0),
                    backbone=dict(lr_mult=0.1),
                ),
            ),
        )
        names = {id(p): name for name, p in model.named_parameters()}
        groups.append(
            {
                names[id(p)]: (group['lr'], group['weight_decay'])
                for group in wrapper.optimizer.param_groups
                for p in group['params']
            }
        )
    assert groups[0] == groups[1]
    assert len(set(groups[0].values())) == 3


def test_checkpointing_is_refused_with_what_to_do_instead(video_swin):
    with pytest.raises(ValueError, match='Dr2SwinTransformer3D.*Set with_cp=False'):
        video_swin.build(with_cp=True)


@pytest.mark.parametrize(
    'shape', [(1, 3, 16, 16), (2, 1, 3, 4, 16, 16), (1, 4, 8, 8, 8)]
)
def test_an_input_that_is_no_video_is_refused_with_its_shape(video_swin, shape):
    with pytest.raises(ValueError, match=r'takes videos \[B, 3, T, H, W\], got shape'):
        video_swin.build()(torch.zeros(shape))


def test_a_video_that_is_not_finite_is_an_error_that_names_the_stage(video_swin):
    video = video_swin.video()
    video[0, 0, 3, 3, 3] = float('nan')
    with pytest.raises(RuntimeError, match='stage 1.*not finite'):
        video_swin.build()(video)


def test_a_reversible_step_keeps_and_peaks_far_below_checkpointing():
    arguments = dict(
        arch=dict(embed_dims=96, depths=(2, 2, 6), num_heads=(3, 6, 12)),
        pretrained2d=False,
    )
    arguments['out_indices'] = (2,)
    video = torch.empty(1, 3, 32, 112, 112, device='meta')
    memory = {}
    for name, build in dict(
        plain=lambda: SwinTransformer3D(**arguments),
        checkpoint=lambda: SwinTransformer3D(**arguments, with_cp=True),
        dr2=lambda: Dr2SwinTransformer3D(**arguments),
    ).items():
        model: nn.Module = build()
        memory[name] = measure_step(model.to('meta'), video).peak_bytes
    assert memory['dr2'] < memory['checkpoint'] / 2 < memory['plain'] / 4
