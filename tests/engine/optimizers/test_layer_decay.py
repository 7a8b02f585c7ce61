"""Learning rates by layer: as timm groups, as mmpretrain counts, with other options."""

from typing import Dict, Tuple

import pytest
import timm
import torch
from mmengine.optim import build_optim_wrapper
from timm.optim import param_groups_layer_decay
from torch import nn

from dr2net_mm.backbones import (
    Dr2MViT,
    Dr2SwinTransformer,
    Dr2SwinTransformer3D,
    Dr2TimmBackbone,
    Dr2VisionTransformer,
)

RATE, DECAY, WEIGHT_DECAY = 1.0, 0.5, 0.1
VIT = dict(embed_dim=16, depth=3, num_heads=2, img_size=16, patch_size=8)
SWIN = dict(embed_dims=8, num_heads=(1, 2, 2, 2), window_size=4)
#: Small models of timm, which are grouped by its own function.
FAMILIES = {
    'vit_small_patch14_reg4_dinov2': VIT,
    'deit_tiny_distilled_patch16_224': VIT,
    'beit_base_patch16_224': VIT,
    'eva02_tiny_patch14_224': VIT,
    'mixer_s32_224': dict(img_size=32),
    'swin_tiny_patch4_window7_224': dict(
        embed_dim=8, depths=(1, 2), num_heads=(1, 2), img_size=56
    ),
    'convnext_atto': dict(depths=(1, 1, 4, 1), dims=(4, 8, 8, 8)),
    'pvt_v2_b0': {},
}


class Detector(nn.Module):
    """A backbone and something that follows it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(4, 2)


def groups_of(model: nn.Module, **paramwise) -> Dict[str, Tuple[float, float]]:
    """Learning rate and weight decay by parameter name."""
    cfg = dict(
        constructor='LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=RATE, weight_decay=WEIGHT_DECAY),
        paramwise_cfg=dict(layer_decay_rate=DECAY, **paramwise),
    )
    optimizer = build_optim_wrapper(model, cfg).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    assert len(found) == sum(len(group['params']) for group in optimizer.param_groups)
    return found


def timm_groups(model: nn.Module) -> Dict[str, Tuple[float, float]]:
    groups = param_groups_layer_decay(
        model,
        weight_decay=WEIGHT_DECAY,
        no_weight_decay_list=model.no_weight_decay()
        if hasattr(model, 'no_weight_decay')
        else (),
        layer_decay=DECAY,
    )
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (RATE * group['lr_scale'], group['weight_decay'])
        for group in groups
        for p in group['params']
    }


@pytest.mark.parametrize('name', FAMILIES)
def test_a_timm_model_has_the_groups_of_timm(name):
    model = timm.create_model(name, num_classes=0, **FAMILIES[name])
    expected = timm_groups(model)
    assert len({rate for rate, _ in expected.values()}) > 3
    assert groups_of(model) == expected


@pytest.mark.parametrize('name', FAMILIES)
def test_a_detector_has_the_groups_of_the_model_with_a_classifier(name):
    whole = timm.create_model(name, num_classes=3, **FAMILIES[name])
    body = timm.create_model(name, num_classes=0, **FAMILIES[name])
    expected, found = timm_groups(whole), groups_of(Detector(body))
    assert found.pop('head.weight') == (RATE, WEIGHT_DECAY)
    assert found.pop('head.bias') == (RATE, 0.0)
    assert found == {
        f'backbone.{name}': expected[name] for name, _ in body.named_parameters()
    }


def test_our_backbone_has_the_groups_of_the_timm_model_in_it():
    name = 'vit_small_patch14_reg4_dinov2'
    backbone = Dr2TimmBackbone(name, **VIT)
    expected = timm_groups(timm.create_model(name, num_classes=3, **VIT))
    found = groups_of(Detector(backbone))
    trained = [n for n, p in backbone.named_parameters() if p.requires_grad]
    assert 'norm.weight' not in trained  # not used without output_norm
    for parameter in trained:
        assert found[f'backbone.{parameter}'] == expected[parameter]
    assert len(found) == len(trained) + 2


def test_blocks_that_were_cut_off_do_not_count():
    backbone = Dr2TimmBackbone('vit_small_patch14_dinov2', out_indices=[1], **VIT)
    found = groups_of(Detector(backbone))
    assert found['backbone.blocks.1.attn.qkv.weight'][0] == DECAY
    assert found['backbone.patch_embed.proj.weight'][0] == DECAY**3


# Depths 1, 2, 1, 1: five blocks, so layer 6 is the last of seven.
SWIN_LAYERS = {
    'patch_embed': 0,
    'stages.0.blocks.0': 1,
    'stages.0.downsample': 1,
    'stages.1.blocks.0': 2,
    'stages.1.blocks.1': 3,
    'stages.1.downsample': 3,
    'stages.2.blocks.0': 4,
    'stages.2.downsample': 4,
    'stages.3.blocks.0': 5,
    'norm': 6,
}


@pytest.mark.parametrize('video', [False, True])
def test_swin_is_numbered_as_in_mmpretrain(video):
    if video:
        backbone = Dr2SwinTransformer3D(
            arch=dict(embed_dims=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 2]),
            window_size=(2, 2, 2),
            pretrained2d=False,
        )
    else:
        backbone = Dr2SwinTransformer(depths=(1, 2, 1, 1), **SWIN)
    found = groups_of(Detector(backbone))
    for prefix, layer in SWIN_LAYERS.items():
        if video:
            prefix = prefix.replace('stages', 'layers')
        rates = [r for n, (r, _) in found.items() if n.startswith(f'backbone.{prefix}')]
        assert rates and set(rates) == {RATE * DECAY ** (6 - layer)}, prefix
    assert found['head.weight'] == (RATE, WEIGHT_DECAY)
    tables = [v for n, v in found.items() if n.endswith('relative_position_bias_table')]
    assert len(tables) == 5 and {decay for _, decay in tables} == {0.0}


def test_videomae_is_numbered_by_block():
    backbone = Dr2VisionTransformer(
        embed_dims=8, depth=2, num_heads=2, img_size=16, num_frames=2
    )
    found = groups_of(Detector(backbone))
    assert found['backbone.patch_embed.projection.weight'][0] == DECAY**3
    assert found['backbone.blocks.0.attn.qkv.weight'][0] == DECAY**2
    assert found['backbone.blocks.1.mlp.layers.1.weight'][0] == DECAY
    assert found['backbone.fc_norm.weight'] == (RATE, 0.0)


@pytest.mark.parametrize('name', ['vit', 'image_mvit', 'video_mvit', 'mvit'])
def test_mvit_and_reversible_networks_are_numbered_by_block(name, rev):
    if name == 'mvit':
        arch = dict(embed_dims=8, num_layers=5, num_heads=1, downscale_indices=[1, 3])
        backbone = Dr2MViT(arch=arch, spatial_size=32, temporal_size=4)
    else:
        backbone = rev.build(name)
    blocks = backbone.layers if name == 'vit' else backbone.blocks
    last = len(blocks) + 1
    found = groups_of(Detector(backbone))
    prefix = 'backbone.layers' if name == 'vit' else 'backbone.blocks'
    for key, (rate, decay) in found.items():
        if key.startswith(prefix):
            layer = int(key[len(prefix) + 1 :].split('.')[0]) + 1
        else:
            embedded = ('backbone.patch', 'backbone.pos', 'backbone.cls')
            layer = 0 if key.startswith(embedded) else last
        assert rate == pytest.approx(RATE * DECAY ** (last - layer)), key
        if 'pos' in key or 'cls_token' in key:
            assert decay == 0, key


def test_the_other_keys_of_paramwise_cfg_still_work():
    model = Detector(Dr2SwinTransformer(depths=(1, 1, 1, 1), **SWIN))
    found = groups_of(
        model,
        norm_decay_mult=0.5,
        custom_keys={
            'head': dict(lr_mult=10.0, decay_mult=2.0),
            'relative_position_bias_table': dict(decay_mult=1.0),
        },
    )
    assert found['head.weight'] == (10 * RATE, 2 * WEIGHT_DECAY)
    block = 'backbone.stages.0.blocks.0'
    assert found[f'{block}.norm1.weight'] == (RATE * DECAY**4, 0.5 * WEIGHT_DECAY)
    assert found[f'{block}.attn.w_msa.qkv.bias'] == (RATE * DECAY**4, 0.0)
    table = found[f'{block}.attn.w_msa.relative_position_bias_table']
    assert table == (RATE * DECAY**4, WEIGHT_DECAY)
    decayed = groups_of(model, flat_decay_mult=1.0)
    assert decayed[f'{block}.norm1.weight'][1] == WEIGHT_DECAY


def test_frozen_parameters_are_left_out():
    backbone = Dr2SwinTransformer(depths=(1, 1, 1, 1), frozen_stages=1, **SWIN)
    backbone.train()
    found = groups_of(Detector(backbone))
    trained = {n for n, p in Detector(backbone).named_parameters() if p.requires_grad}
    assert set(found) == trained
    # Freezing does not renumber.
    assert found['backbone.stages.1.blocks.0.norm1.weight'][0] == RATE * DECAY**3


@pytest.mark.parametrize(
    ('optimizer', 'paramwise', 'said'),
    [
        ({}, {}, r'layer_decay_rate in \(0, 1\].*got None'),
        ({}, dict(layer_decay_rate=1.5), 'got 1.5'),
        ({}, dict(layer_decay_rate='0.7'), "got '0.7'"),
        ({}, dict(layer_decay_rate=0.7, num_layers=12), 'num_layers=12'),
        (dict(lr=None), dict(layer_decay_rate=0.7), 'optimizer has no lr'),
    ],
)
def test_options_that_do_not_fit_are_named(optimizer, paramwise, said):
    cfg = dict(
        constructor='LayerDecayOptimWrapperConstructor',
        optimizer={**dict(type='SGD', lr=0.1), **optimizer},
        paramwise_cfg=paramwise,
    )
    with pytest.raises(ValueError, match=said):
        build_optim_wrapper(Detector(nn.Identity()), cfg)


def test_a_backbone_of_unknown_layers_is_named():
    with pytest.raises(TypeError, match='layers of Linear are not known'):
        groups_of(Detector(nn.Linear(2, 2)))


def test_a_step_moves_layers_by_their_rates():
    model = Detector(Dr2TimmBackbone('vit_small_patch14_dinov2', **VIT))
    cfg = dict(
        constructor='LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1.0),
        paramwise_cfg=dict(layer_decay_rate=0.1),
    )
    optimizer = build_optim_wrapper(model, cfg).optimizer
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, layer in (('blocks.2', 3), ('blocks.0', 1), ('patch_embed', 0)):
        parameter = dict(model.named_parameters())
        full = next(n for n in before if n.startswith(f'backbone.{name}'))
        moved = before[full] - parameter[full].detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 ** (4 - layer)))
