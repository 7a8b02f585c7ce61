"""Rev-ViT is the published two-stream network."""

import pytest
import torch
import torch.nn.functional as F

from dr2net_mm.backbones import RevVisionTransformer


def two_streams(model, x):
    """The published equations, written without the engine."""
    x = model.patch_embed.projection(x).flatten(2).transpose(1, 2) + model.pos_embed
    first = second = x
    for layer in model.layers:
        heads = [
            part.unflatten(-1, (layer.attn.num_heads, -1)).transpose(1, 2)
            for part in layer.attn.qkv(layer.ln1(second)).chunk(3, -1)
        ]
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        first = first + layer.attn.proj(mixed)
        hidden = F.gelu(layer.ffn.layers[0][0](layer.ln2(first)))
        second = second + layer.ffn.layers[1](hidden)
    return model.ln1(torch.cat((first, second), -1)).mean(1)


def test_stored_float_arithmetic_is_the_two_stream_network_bit_for_bit(rev):
    options = dict(arithmetic='float', backprop='stored')
    model = rev.vit(dual_residual=options).train()
    x = rev.input('vit')
    (found,) = model(x)
    assert torch.equal(found, two_streams(model, x))


def test_exact_arithmetic_is_it_within_the_fixed_point_steps(rev):
    model, x = rev.vit().eval(), rev.input('vit')
    error = (model(x)[0] - two_streams(model, x)).abs().max()
    # Six branches round to steps of 2^-16, and each changes what the next ones see.
    assert 0 < error < 64 * 2**-16


def test_exact_gradients_are_those_of_the_two_stream_network(rev):
    model, x = rev.vit(), rev.input('vit')
    found = rev.gradients(model, x)
    model.zero_grad()
    leaf = x.clone().requires_grad_()
    two_streams(model, leaf).sin().sum().backward()
    wanted = {name: p.grad for name, p in model.named_parameters()}
    for name, value in {**wanted, 'input': leaf.grad}.items():
        error = (found[name] - value).norm() / value.norm().clamp_min(1e-3)
        assert error < 1e-3, name


def test_streams_are_joined_second_stream_first(rev):
    x = rev.input('vit')
    model = rev.vit(out_type='raw').eval()
    swapped = rev.vit(out_type='raw', dual_residual=dict(fusion='concat')).eval()
    for layer in (model.ln1, swapped.ln1):
        layer.weight.data.fill_(1.0)
        layer.bias.data.fill_(0.0)
    halves = model(x)[0].chunk(2, -1)
    assert torch.allclose(
        torch.cat(halves[::-1], -1), swapped(x)[0], atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize(
    ('arch', 'parameters'), [('deit-small', 22434664), ('deit-base', 87335656)]
)
def test_the_published_networks_have_the_published_sizes(arch, parameters):
    with torch.device('meta'):
        model = RevVisionTransformer(arch)
        head = torch.nn.Linear(2 * model.embed_dims, 1000)
    found = sum(p.numel() for m in (model, head) for p in m.parameters())
    assert found == parameters


@pytest.mark.parametrize(
    ('out_type', 'shape'),
    [('avg_featmap', (2, 32)), ('featmap', (2, 32, 4, 6)), ('raw', (2, 24, 32))],
)
def test_images_of_another_size_have_interpolated_positions(rev, out_type, shape):
    (features,) = rev.vit(out_type=out_type).eval()(torch.randn(2, 3, 37, 48))
    assert features.shape == shape


def test_initial_weights_are_the_published_ones():
    model = RevVisionTransformer(dict(embed_dims=64, num_layers=1, num_heads=2))
    model.init_weights()
    layer = model.layers[0]
    for bias in (layer.attn.qkv.bias, layer.ln1.bias, layer.ffn.layers[1].bias):
        assert (bias == 0.02).all()
    assert (model.ln1.weight == 1).all()
    for weight in (layer.attn.qkv.weight, model.pos_embed):
        assert 0.015 < weight.std() < 0.025


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='small'), "got 'small'; the published Rev-ViT-S and -B are deit-"),
        (dict(arch=dict(embed_dims=8)), "needs .*'num_heads'.* got"),
        (dict(arch=dict(embed_dims=8, num_layers=1, num_heads=3)), 'among 3 heads'),
        (dict(out_type='cls_token'), "'avg_featmap'.* got 'cls_token'"),
        (dict(img_size=4), 'img_size=4 holds no patch of patch_size=8'),
        (dict(drop_path_rate=1.0), r'drop_path_rate must be in \[0, 1\), got 1.0'),
        (dict(dual_residual=dict(fusion='last')), "'concat_yx'.* got 'last'"),
        (dict(dual_residual=dict(gamma=1)), "no option 'gamma'"),
    ],
)
def test_unusable_arguments_are_refused(rev, changes, message):
    with pytest.raises(ValueError, match=message):
        rev.vit(**changes)


@pytest.mark.parametrize(
    ('shape', 'message'),
    [
        ((2, 3, 4, 32, 32), r'takes images \[B, 3, H, W\], got shape \(2, 3, 4'),
        ((2, 1, 32, 32), r'takes images \[B, 3, H, W\], got shape \(2, 1'),
        ((2, 3, 7, 32), 'patches of 8 pixels, got 7x32'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(rev, shape, message):
    with pytest.raises(ValueError, match=message):
        rev.vit()(torch.zeros(shape))
