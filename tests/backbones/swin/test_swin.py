"""Arguments of ``Dr2SwinTransformer``: mmdet's own cases for its Swin, and ours."""

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.registry import MODELS

from dr2net_mm.backbones import Dr2SwinTransformer

CHANNELS = (16, 32, 64, 128)


def shapes(outputs):
    return [tuple(output.shape) for output in outputs]


def test_it_is_a_swin_that_the_root_registry_builds():
    model = MODELS.build(dict(type='Dr2SwinTransformer', embed_dims=24))
    assert isinstance(model, Dr2SwinTransformer)
    assert isinstance(model, SwinTransformer)
    assert (model.alpha, model.beta) == (1.0, 0.1)
    assert model.dual_residual_options.arithmetic == 'exact'
    assert model.dual_residual_options.backprop == 'reversible'


def test_setting_the_mode_returns_the_backbone(swin):
    model = swin.build()
    assert model.train() is model and model.training
    assert model.eval() is model and not model.training


def test_pretrained_must_be_a_string_or_none(swin):
    with pytest.raises(TypeError, match='str'):
        swin.build(pretrained=123)


def test_the_stride_of_the_patch_embedding_must_be_its_patch_size(swin):
    with pytest.raises(AssertionError, match='non-overlapping'):
        swin.build(strides=(2, 2, 2, 2), patch_size=4)


def test_a_pretraining_size_of_three_numbers_is_refused(swin):
    with pytest.raises(AssertionError, match='1 or 2'):
        swin.build(pretrain_img_size=(224, 224, 224))


def test_init_cfg_and_pretrained_exclude_each_other(swin):
    with pytest.raises(AssertionError, match='init_cfg and pretrained'):
        swin.build(
            pretrained='a.pth', init_cfg=dict(type='Pretrained', checkpoint='a.pth')
        )


@pytest.mark.parametrize(
    'pretrain_img_size, size',
    [(96, (96, 96)), ((96,), (96, 96)), ((128, 72), (128, 72))],
)
def test_an_absolute_position_embedding_is_added_and_trained(
    swin, pretrain_img_size, size
):
    model = swin.build(use_abs_pos_embed=True, pretrain_img_size=pretrain_img_size)
    image = swin.image(*size)
    with torch.no_grad():
        expected = swin.by_hand(model, image, swin.family(1.0, 0.1))
        for found, wanted in zip(model(image), expected):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    gradients = swin.step(model, model, image).gradients
    assert gradients['absolute_pos_embed'].abs().min() > 0


@pytest.mark.parametrize('patch_norm', [True, False])
def test_patch_norm_decides_on_norms_of_embedding_and_merging(swin, patch_norm):
    model = swin.build(patch_norm=patch_norm)
    names = {name for name, _ in model.named_parameters()}
    assert ('patch_embed.norm.weight' in names) == patch_norm
    assert ('stages.0.downsample.norm.weight' in names) == patch_norm
    image = swin.image(64, 72)
    stored = swin.build(patch_norm=patch_norm, dual_residual=dict(backprop='stored'))
    swin.assert_bitwise_equal(
        swin.step(model, model, image), swin.step(stored, stored, image)
    )


@pytest.mark.parametrize(
    'size, grids',
    [
        ((128, 128), [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((127, 127), [(32, 32), (16, 16), (8, 8), (4, 4)]),
        ((112, 137), [(28, 35), (14, 18), (7, 9), (4, 5)]),
        ((65, 33), [(17, 9), (9, 5), (5, 3), (3, 2)]),
        ((4, 4), [(1, 1), (1, 1), (1, 1), (1, 1)]),
        ((1, 30), [(1, 8), (1, 4), (1, 2), (1, 1)]),
    ],
)
@pytest.mark.parametrize('training', [True, False])
def test_feature_maps_have_mmdets_shapes_at_any_size(swin, size, grids, training):
    model = swin.build(depths=(2, 1, 1, 1)).train(training)
    image = swin.image(*size, batch=2)
    with torch.set_grad_enabled(training):
        outputs = model(image)
        assert shapes(outputs) == shapes(swin.plain(depths=(2, 1, 1, 1))(image))
    assert shapes(outputs) == [(2, c, *grid) for c, grid in zip(CHANNELS, grids)]
    assert all(output.is_contiguous() for output in outputs)
    assert all(output.requires_grad == training for output in outputs)


@pytest.mark.parametrize('out_indices', [(0,), (3,), (1, 3), (0, 2), (0, 1, 2)])
def test_out_indices_choose_feature_maps_and_norms(swin, out_indices):
    model = swin.build(out_indices=out_indices)
    stored = swin.build(out_indices=out_indices, dual_residual=dict(backprop='stored'))
    image = swin.image(64, 64)
    outputs = model(image)
    assert [output.shape[1] for output in outputs] == [CHANNELS[i] for i in out_indices]
    norms = {name for name, _ in model.named_children() if name.startswith('norm')}
    assert norms == {f'norm{i}' for i in out_indices}
    step = swin.step(model, model, image)
    swin.assert_bitwise_equal(step, swin.step(stored, stored, image))
    # What stands behind the last wanted stage has no gradient; the rest has.
    last = max(out_indices)
    without = {name for name, gradient in step.gradients.items() if gradient is None}
    behind = {
        name
        for name, _ in model.named_parameters()
        if any(name.startswith(f'stages.{i}.') for i in range(last + 1, 4))
        or name.startswith(f'stages.{last}.downsample')
    }
    assert without == behind


@pytest.mark.parametrize('window_size', [3, 4, 12, 16])
def test_windows_may_be_larger_than_the_feature_map(swin, window_size):
    model = swin.build(window_size=window_size, dual_residual=dict(alpha=1, beta=0))
    plain = swin.plain(model, window_size=window_size)
    image = swin.image(60, 52)
    with torch.no_grad():
        for found, wanted in zip(model(image), plain(image)):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('in_channels, patch_size', [(1, 2), (4, 8)])
def test_images_of_other_channels_and_patches_of_other_sizes_pass(
    swin, in_channels, patch_size
):
    model = swin.build(
        in_channels=in_channels, patch_size=patch_size, strides=(patch_size, 2, 2, 2)
    )
    outputs = model(torch.randn(1, in_channels, 48, 40))
    grid = (48 // patch_size, 40 // patch_size)
    assert outputs[0].shape == (1, 16, *grid)


@pytest.mark.parametrize(
    'arguments',
    [
        dict(qkv_bias=False),
        dict(qk_scale=0.3),
        dict(mlp_ratio=2),
        dict(act_cfg=dict(type='ReLU')),
        dict(norm_cfg=dict(type='LN', eps=1e-3)),
        dict(strides=(4, 2, 1, 2)),
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_other_arguments_of_mmdets_swin_mean_the_same(swin, arguments):
    model = swin.build(**arguments, dual_residual=dict(alpha=1, beta=0))
    plain = swin.plain(model, **arguments)
    image = swin.image(64, 56)
    with torch.no_grad():
        for found, wanted in zip(model(image), plain(image)):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def frozen_names(model, frozen_stages):
    """Parameters that a number of frozen stages covers."""
    prefixes = []
    if frozen_stages >= 0:
        prefixes += ['patch_embed.', 'absolute_pos_embed']
    for i in range(frozen_stages):
        prefixes += [f'stages.{i}.', f'norm{i}.']
    return {
        name
        for name, _ in model.named_parameters()
        if any(name.startswith(prefix) for prefix in prefixes)
    }


@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
@pytest.mark.parametrize('frozen_stages', range(-1, 5))
def test_frozen_stages_freeze_what_mmdet_freezes_and_nothing_else(
    swin, frozen_stages, arithmetic
):
    arguments = dict(
        frozen_stages=frozen_stages,
        use_abs_pos_embed=True,
        pretrain_img_size=64,
        drop_path_rate=0.3,
        drop_rate=0.1,
    )
    coefficients = dict(alpha=0.3, beta=0.7, arithmetic=arithmetic)
    model, stored = (
        swin.build(
            **arguments, dual_residual=dict(coefficients, backprop=backprop)
        ).train()
        for backprop in ('reversible', 'stored')
    )
    frozen = frozen_names(model, frozen_stages)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name not in frozen), name
    plain = swin.plain(**arguments)
    # Returns nothing, so it cannot be part of the line above.
    plain.train()
    modes = {name: module.training for name, module in plain.named_modules()}
    found = {name: module.training for name, module in model.named_modules()}
    assert {name: found[name] for name in modes} == modes
    assert model.patch_embed.training == (frozen_stages < 0)
    assert [stage.training for stage in model.stages] == [
        i >= frozen_stages for i in range(4)
    ]
    image = swin.image(64, 64, batch=2)
    one, other = swin.step(model, model, image), swin.step(stored, stored, image)
    for name, _ in model.named_parameters():
        assert (one.gradients[name] is None) == (name in frozen), name
    if arithmetic == 'exact':
        swin.assert_bitwise_equal(one, other)
    else:
        for name in one.gradients.keys() - frozen:
            torch.testing.assert_close(
                one.gradients[name], other.gradients[name], rtol=1e-2, atol=1e-5
            )


@pytest.mark.parametrize('frozen_stages', range(-1, 5))
def test_frozen_stages_train_on_images_that_need_no_gradient(swin, frozen_stages):
    models = []
    for backprop in ('reversible', 'stored'):
        model = swin.build(
            frozen_stages=frozen_stages, dual_residual=dict(backprop=backprop)
        ).train()
        models.append(model)
        outputs = model(swin.image(64, 64))
        expected = [i >= frozen_stages or frozen_stages < 1 for i in range(4)]
        assert [output.requires_grad for output in outputs] == expected
        if any(expected):
            wanted = [output for output in outputs if output.requires_grad]
            sum(output.square().mean() for output in wanted).backward()
    frozen = frozen_names(models[0], frozen_stages)
    reference = dict(models[1].named_parameters())
    for name, parameter in models[0].named_parameters():
        if name in frozen:
            assert parameter.grad is None and reference[name].grad is None, name
        else:
            assert torch.equal(parameter.grad, reference[name].grad), name


def test_checkpointing_is_refused_with_what_to_do_instead(swin):
    for backprop in ('reversible', 'stored'):
        with pytest.raises(ValueError, match='Set with_cp=False'):
            swin.build(with_cp=True, dual_residual=dict(backprop=backprop))


def test_an_unknown_option_is_named(swin):
    with pytest.raises(ValueError, match="no option 'aplha'.*alpha, beta"):
        swin.build(dual_residual=dict(aplha=1.0))


def test_concatenated_streams_are_refused_for_their_width(swin):
    with pytest.raises(ValueError, match="'concat'.*fixed widths"):
        swin.build(dual_residual=dict(fusion='concat'))


@pytest.mark.parametrize(
    'coefficient, value', [('alpha', 1.5), ('beta', -0.1), ('alpha', float('nan'))]
)
def test_coefficients_out_of_range_are_refused(swin, coefficient, value):
    with pytest.raises(ValueError, match=rf'{coefficient} .*\[0, 1\], got {value}'):
        swin.build(dual_residual={coefficient: value})
    model = swin.build()
    with pytest.raises(ValueError, match=rf'{coefficient} .*\[0, 1\], got {value}'):
        model.set_coefficients(**{'alpha': 0.5, 'beta': 0.5, coefficient: value})
    assert (model.alpha, model.beta) == (1.0, 0.1)


def test_beta_zero_is_refused_where_it_cannot_be_reversed(swin):
    with pytest.raises(ValueError, match="beta = 0 .*arithmetic='exact'"):
        swin.build(dual_residual=dict(beta=0, arithmetic='float'))
    model = swin.build(dual_residual=dict(alpha=0.3, beta=0.7, arithmetic='float'))
    with pytest.raises(ValueError, match="beta = 0 .*arithmetic='exact'"):
        model.set_coefficients(1.0, 0.0)
    swin.build(dual_residual=dict(beta=0)).set_coefficients(1.0, 0.0)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_an_image_that_is_not_finite_is_an_error_that_names_the_stage(swin, value):
    image = swin.image(64, 64)
    image[0, 0, 3, 3] = value
    with pytest.raises(RuntimeError, match='stage 1.*not finite'):
        swin.build()(image)


def test_a_stream_out_of_range_is_an_error_that_names_the_stage(swin):
    model = swin.build(patch_norm=False)
    with torch.no_grad():
        model.stages[1].blocks[0].ffn.layers[1].bias.fill_(1e6)
    with pytest.raises(RuntimeError, match='stage 2.*fraction_bits'):
        model(swin.image(64, 64))


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_inference_equals_a_forward_pass_with_gradients(swin, mode):
    model = swin.build(drop_path_rate=0.5, drop_rate=0.5, attn_drop_rate=0.5).eval()
    image = swin.image(64, 72)
    with mode():
        plain = model(image)
    # Without gradients torch may pick other kernels, whose last bit moves a number
    # to the next fixed-point step.
    for found, wanted in zip(plain, model(image)):
        torch.testing.assert_close(found, wanted, rtol=0, atol=2**-12)
    # Index tensors made under inference mode serve a training step as well.
    sum(output.mean() for output in model(image)).backward()
