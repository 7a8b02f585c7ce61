"""Arguments, inputs and frozen parameters of ``Dr2VisionTransformer``."""

import pytest
import torch
from mmengine.registry import MODELS

from dr2net_mm.backbones import Dr2VisionTransformer

from mmaction.models.backbones import VisionTransformer  # isort: skip


def test_it_is_a_vit_that_the_root_registry_builds():
    model = MODELS.build(dict(type='Dr2VisionTransformer', depth=1, embed_dims=24))
    assert isinstance(model, Dr2VisionTransformer)
    assert isinstance(model, VisionTransformer)
    assert (model.alpha, model.beta) == (1.0, 0.1)
    assert model.dual_residual_options.arithmetic == 'exact'
    assert model.dual_residual_options.backprop == 'reversible'


@pytest.mark.parametrize(
    'arguments',
    [
        dict(qk_scale=0.3),
        dict(mlp_ratio=2),
        dict(norm_cfg=dict(type='LN', eps=1e-3)),
        dict(in_channels=3, patch_size=16),
        dict(tubelet_size=1),
        dict(tubelet_size=3),
        dict(init_values=0.0, depth=1),
        dict(img_size=24, num_frames=2),
    ],
    ids=str,
)
def test_arguments_of_mmactions_vit_mean_the_same(vit, arguments):
    model = vit.build(**arguments, dual_residual=dict(alpha=1, beta=0))
    plain = vit.plain(model, **arguments)
    video = vit.video(frames=arguments.get('num_frames', 6))
    with torch.no_grad():
        found, wanted = model(video), plain(video)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('size', [(6, 32, 32), (6, 40, 16), (7, 37, 50)], ids=str)
@pytest.mark.parametrize('norm', [False, True])
def test_a_feature_map_has_a_feature_for_each_tubelet(vit, size, norm):
    arguments = dict(return_feat_map=True, use_mean_pooling=not norm)
    model = vit.build(**arguments, dual_residual=dict(alpha=1, beta=0))
    plain = vit.plain(model, **arguments)
    video = vit.video(*size)
    with torch.no_grad():
        found, wanted = model(video), plain(video)
    assert found.shape == wanted.shape == (2, 16, 3, size[1] // 8, size[2] // 8)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    'shape', [(2, 3, 32, 32), (2, 1, 3, 6, 32, 32), (2, 4, 6, 32, 32)]
)
def test_an_input_that_is_no_video_is_refused_with_its_shape(vit, shape):
    with pytest.raises(ValueError, match=r'takes videos \[B, 3, T, H, W\], got shape'):
        vit.build()(torch.zeros(shape))


@pytest.mark.parametrize('frames', [1, 5, 8, 16])
def test_another_number_of_frames_is_refused_with_what_to_do(vit, frames):
    with pytest.raises(ValueError, match=f'for 6 frames, got .* {frames}.*num_frames='):
        vit.build()(vit.video(frames=frames))


def test_a_frame_smaller_than_a_patch_is_refused(vit):
    with pytest.raises(ValueError, match='8x8 pixels, got frames of 32x7'):
        vit.build()(vit.video(width=7))


def test_an_argument_that_mmaction_would_pass_over_is_named(vit):
    with pytest.raises(TypeError, match="'drop_path'; did you mean 'drop_path_rate'"):
        vit.build(drop_path=0.1)
    with pytest.raises(TypeError, match="'dual_residul'; did you mean 'dual_residual'"):
        vit.build(dual_residul=dict())
    with pytest.raises(TypeError, match="'frozen_stages'; it has .*'img_size'"):
        vit.build(frozen_stages=2)


def test_checkpointing_is_refused_with_what_to_do_instead(vit):
    with pytest.raises(ValueError, match='Set with_cp=False'):
        vit.build(with_cp=True)
    vit.build(with_cp=False)


def test_heads_must_divide_the_width(vit):
    with pytest.raises(ValueError, match='embed_dims=16 .*num_heads=3'):
        vit.build(num_heads=3)


@pytest.mark.parametrize('size', [dict(img_size=7), dict(num_frames=1)], ids=str)
def test_a_video_too_small_for_a_tubelet_is_refused(vit, size):
    with pytest.raises(ValueError, match='no tubelet of 2x8x8'):
        vit.build(**size)


def test_init_values_that_mmaction_ignores_are_warned_of(vit):
    with pytest.warns(UserWarning, match='init_values=1 is no float'):
        model = vit.build(init_values=1)
    assert not any('gamma' in name for name, _ in model.named_parameters())


def test_other_options_are_checked(vit):
    with pytest.raises(ValueError, match="no option 'aplha'"):
        vit.build(dual_residual=dict(aplha=1.0))
    with pytest.raises(ValueError, match="'concat'.*fixed widths"):
        vit.build(dual_residual=dict(fusion='concat'))
    with pytest.raises(ValueError, match="beta = 0 .*arithmetic='exact'"):
        vit.build(dual_residual=dict(beta=0, arithmetic='float'))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_video_that_is_not_finite_is_an_error_that_names_the_stage(vit, value):
    video = vit.video()
    video[0, 0, 3, 3, 3] = value
    with pytest.raises(RuntimeError, match='stage 1.*not finite'):
        vit.build()(video)


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_inference_equals_a_forward_pass_with_gradients(vit, mode):
    model = vit.build(drop_path_rate=0.5, drop_rate=0.5, attn_drop_rate=0.5).eval()
    video = vit.video()
    with mode():
        plain = model(video)
    assert not plain.requires_grad
    torch.testing.assert_close(plain, model(video), rtol=0, atol=2**-12)


@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
@pytest.mark.parametrize('budget', [None, 0.5])
@pytest.mark.parametrize(
    'frozen',
    [
        ('patch_embed.', 'pos_embed'),
        ('patch_embed.',),
        ('patch_embed.', 'pos_embed', 'blocks.0.', 'blocks.1.norm', 'blocks.1.attn.'),
        ('blocks.1.', 'blocks.2.attn.q_bias', 'blocks.2.gamma_1'),
        ('patch_embed.', 'pos_embed', 'blocks.'),
    ],
    ids=lambda names: '+'.join(names),
)
def test_frozen_parameters_get_no_gradient_and_all_others_do(
    vit, frozen, budget, arithmetic
):
    gradients = []
    for backprop in ('reversible', 'stored'):
        options = dict(alpha=0.3, beta=0.7, arithmetic=arithmetic, backprop=backprop)
        if backprop == 'reversible':
            options['memory_budget'] = budget
        model = vit.build(
            drop_path_rate=0.3,
            drop_rate=0.1,
            init_values=0.5,
            use_learnable_pos_emb=True,
            dual_residual=options,
        )
        for name, parameter in model.named_parameters():
            parameter.requires_grad = not name.startswith(frozen)
        torch.manual_seed(1)
        # The video needs no gradient.
        (model(vit.video()) * torch.linspace(-1, 1, 16)).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, found in gradients[0].items():
        wanted = gradients[1][name]
        assert (found is None) == (wanted is None) == name.startswith(frozen), name
        if found is not None and arithmetic == 'exact':
            assert torch.equal(found, wanted), name
        elif found is not None:
            torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-5)


def test_two_backward_passes_are_refused_with_what_to_do(vit):
    loss = vit.build()(vit.video()).mean()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backprop='stored'"):
        loss.backward()
