"""SlowFast's Rev-ViT and Rev-MViT, and mmpretrain's names: every key of each."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dr2net_mm.backbones import RevMViT, RevVisionTransformer
from dr2net_mm.errors import UserError
from dr2net_mm.import_weights import mm_to_slowfast_rev, slowfast_rev_to_mm

KEYS = Path(__file__).parents[1] / 'fixtures/published_keys'
PUBLISHED = {
    'REV_VIT_S': dict(type='RevVisionTransformer', arch='deit-small'),
    'REV_VIT_B': dict(type='RevVisionTransformer', arch='deit-base'),
    'REV_MVIT_B_16_CONV': dict(type='RevMViT', arch='image-base'),
    'REV_MVIT_B_16x4_CONV': dict(type='RevMViT', arch='video-base'),
}


def published(name, device='meta'):
    """Empty tensors of the names and shapes of a published checkpoint."""
    shapes = json.loads((KEYS / f'{name}.json').read_text(encoding='utf-8'))
    return {key: torch.empty(shape, device=device) for key, shape in shapes.items()}


def shapes_of(weights):
    return {name: tuple(value.shape) for name, value in weights.items()}


def slowfast_of(rev, name):
    """A tiny network of ours and its weights by SlowFast's names."""
    model = rev.build(name, **({} if name == 'vit' else dict(out_scales=-1))).eval()
    return model, mm_to_slowfast_rev(model.state_dict()).weights


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_published_key_has_a_place_and_comes_back(name):
    weights = published(f'slowfast_{name}')
    conversion = slowfast_rev_to_mm(weights)
    expected = PUBLISHED[name]
    assert {key: conversion.backbone[key] for key in expected} == expected
    assert conversion.backbone['img_size'] == 224
    back = mm_to_slowfast_rev(conversion.weights)
    assert shapes_of(back.weights) == shapes_of(weights)


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_backbone_has_exactly_the_converted_keys(name):
    conversion = slowfast_rev_to_mm(published(f'slowfast_{name}'), backbone_only=True)
    arguments = dict(conversion.backbone)
    kind = arguments.pop('type')
    with torch.device('meta'):
        model = dict(RevMViT=RevMViT, RevVisionTransformer=RevVisionTransformer)[kind](
            **arguments
        )
    wanted = shapes_of(model.state_dict())
    del wanted['dual_residual.alpha'], wanted['dual_residual.beta']
    assert shapes_of(conversion.weights) == wanted


@pytest.mark.parametrize('arch', ['deit-small', 'deit-base'])
def test_rev_vit_has_the_names_of_mmpretrain(arch):
    wanted = shapes_of(published(f'mmpretrain_revvit_{arch}'))
    slowfast = published(f'slowfast_REV_VIT_{arch[5].upper()}')
    converted = slowfast_rev_to_mm(slowfast).weights
    classifier = {'head.fc.weight', 'head.fc.bias'}
    assert shapes_of(converted).keys() - classifier == {
        f'backbone.{name}' for name in wanted
    }
    assert shapes_of(slowfast_rev_to_mm(slowfast, True).weights) == wanted


def slowfast_rev_vit(weights, x, heads):
    """SlowFast's Rev-ViT on its own names, queries, keys and values apart."""

    def linear(name, x):
        return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])

    def norm(name, x):
        weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
        return F.layer_norm(x, weight.shape, weight, bias, 1e-6)

    patches = weights['patch_embed.proj.weight']
    x = F.conv2d(x, patches, weights['patch_embed.proj.bias'], patches.shape[-1])
    first = second = x.flatten(2).transpose(1, 2) + weights['pos_embed']
    for i in range(3):
        f, g = f'rev_backbone.layers.{i}.F', f'rev_backbone.layers.{i}.G'
        z = norm(f'{f}.norm', second)
        q, k, v = (
            linear(f'{f}.attn.{part}', z).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in 'qkv'
        )
        mixed = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        first = first + linear(f'{f}.attn.proj', mixed.transpose(1, 2).flatten(2))
        hidden = F.gelu(linear(f'{g}.mlp.fc1', norm(f'{g}.norm', first)))
        second = second + linear(f'{g}.mlp.fc2', hidden)
    return norm('norm', torch.cat((first, second), -1)).mean(1)


def test_a_rev_vit_gives_the_features_of_slowfast(rev):
    model, weights = slowfast_of(rev, 'vit')
    x = rev.input('vit')
    wanted = slowfast_rev_vit(weights, x, heads=2)
    assert torch.allclose(model(x)[0], wanted, atol=1e-3)


@pytest.mark.parametrize('name', ['vit', 'image_mvit', 'video_mvit'])
def test_both_ways_give_equal_outputs(rev, name):
    model, weights = slowfast_of(rev, name)
    assert weights.keys() != model.state_dict().keys()
    other = rev.build(name, **({} if name == 'vit' else dict(out_scales=-1)))
    for parameter in other.parameters():
        parameter.data.zero_()
    converted = slowfast_rev_to_mm(weights, backbone_only=True).weights
    missing, unexpected = other.load_state_dict(converted, strict=False)
    assert set(missing) <= {'dual_residual.alpha', 'dual_residual.beta'}
    assert not unexpected
    x = rev.input(name)
    found, wanted = rev.flat(other.eval()(x)), rev.flat(model(x))
    assert all(map(torch.equal, found, wanted))
    assert wanted[0].any()


BAD = {
    'an unknown key': (
        lambda w: w.update({'rev_backbone.layers.0.F.rel_pos': torch.zeros(1)}),
        'it has rev_backbone.layers.0.F.rel_pos, which such a network has not',
    ),
    'a key bias that is missing': (
        lambda w: w.pop('rev_backbone.layers.1.F.attn.k.bias'),
        'it has layers.1.attn.q.bias, layers.1.attn.v.bias.* lacks layers.1.attn.qkv',
    ),
    'another shape': (
        lambda w: w.update({'rev_backbone.layers.0.G.mlp.fc2.bias': torch.zeros(3)}),
        r'layers.0.ffn.layers.1.bias is \(3,\) and should be \(16,\)',
    ),
    'no patches': (
        lambda w: w.pop('patch_embed.proj.weight'),
        'the checkpoint has no patch_embed.projection.weight',
    ),
    'a class token': (
        lambda w: w.update(pos_embed=torch.zeros(1, 17, 16)),
        'are 17, which form no square',
    ),
    'another classifier': (
        lambda w: w.update({'head.projection.weight': torch.zeros(5, 16)}),
        'lacks head.projection.bias',
    ),
}


@pytest.mark.parametrize('name', BAD)
def test_what_does_not_fit_is_named_in_one_line(rev, name):
    change, message = BAD[name]
    _, weights = slowfast_of(rev, 'vit')
    change(weights)
    with pytest.raises(UserError, match=message) as caught:
        slowfast_rev_to_mm(weights)
    assert '\n' not in str(caught.value)


def test_slowfast_computes_one_member_only(rev):
    model = rev.vit(dual_residual=dict(alpha=0.3, beta=0.7))
    with pytest.raises(UserError, match=r'trained to .* = \(0.3, 0.7\)'):
        mm_to_slowfast_rev(model.state_dict())
