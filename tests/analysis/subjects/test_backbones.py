"""Backbones by name or from a config, in every class and mode."""

import pytest
import torch

from dr2net_mm.analysis.memory.command import backbone_memory, budget_memory
from dr2net_mm.analysis.subjects.backbones import (
    BACKBONES,
    build_backbone,
    config_backbone,
    conventional_backbone,
    depths_of,
    input_frames,
    named_backbone,
    reversible_backbone,
    with_depths,
    with_frames,
)
from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.errors import UserError
from dr2net_mm.memory.activation_checkpoint import is_checkpointed


def narrow(name):
    """A backbone of a few channels and blocks."""
    depths = [1] * len(depths_of(BACKBONES[name]))
    shape = BACKBONES[name].get('arch', BACKBONES[name])
    heads = shape['num_heads']
    return named_backbone(name, depths, 8 * (heads if isinstance(heads, int) else 3))


@pytest.mark.parametrize('name', ['swin-t', 'video-swin-t', 'videomae-s'])
def test_ours_has_the_parameters_of_the_class_that_it_extends(name):
    backbone = narrow(name)
    plain = build_backbone(conventional_backbone(backbone))
    ours = build_backbone(reversible_backbone(backbone, alpha=1, beta=0))
    assert isinstance(ours, type(plain)) and type(ours) is not type(plain)
    assert (ours.alpha, ours.beta) == (1, 0)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    found = {key: value.shape for key, value in ours.state_dict().items()}
    assert {key: found[key] for key in shapes} == shapes


@pytest.mark.parametrize('name', sorted(BACKBONES))
def test_depths_of_a_named_backbone_can_be_changed(name):
    depths = [n + 1 for n in depths_of(BACKBONES[name])]
    changed = with_depths(BACKBONES[name], depths)
    assert depths_of(changed) == depths
    assert depths_of(named_backbone(name, depths)) == depths
    with pytest.raises(UserError, match=f'its {len(depths)} stages'):
        named_backbone(name, [*depths, 1])


def test_an_architecture_by_name_has_the_depths_of_mmaction():
    backbone = dict(type='mmaction.SwinTransformer3D', arch='small')
    assert depths_of(backbone) == [2, 2, 18, 2]
    assert depths_of(with_depths(backbone, [1, 1, 3, 1])) == [1, 1, 3, 1]


@pytest.mark.parametrize('name', ['swin-t', 'video-swin-t', 'videomae-s'])
def test_a_width_that_the_heads_do_not_divide_is_refused(name):
    with pytest.raises(UserError, match='width 31 does not fit'):
        named_backbone(name, width=31)


def test_only_videos_have_frames():
    frames = {name: input_frames(BACKBONES[name]) for name in BACKBONES}
    assert frames['swin-t'] is None
    assert frames['video-swin-t'] == 32 and frames['videomae-s'] == 16
    assert input_frames(dict(BACKBONES['videomae-s'], num_frames=8)) == 8
    assert with_frames(BACKBONES['videomae-s'], 64)['num_frames'] == 64
    assert with_frames(BACKBONES['video-swin-t'], 64) == BACKBONES['video-swin-t']


def test_a_vision_transformer_is_checkpointed_block_by_block():
    backbone = dict(narrow('videomae-s'), img_size=32)
    checkpointed = build_backbone(conventional_backbone(backbone, with_cp=True))
    assert all(is_checkpointed(block) for block in checkpointed.blocks)
    plain = build_backbone(conventional_backbone(backbone))
    assert not any(is_checkpointed(block) for block in plain.blocks)
    plain.load_state_dict(checkpointed.state_dict())
    video = torch.randn(1, 3, 16, 32, 32)
    assert torch.equal(checkpointed(video), plain(video))


@pytest.mark.parametrize(
    'config, plain',
    [
        (
            'mmaction::recognition/swin/'
            'swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py',
            'SwinTransformer3D',
        ),
        (
            'mmaction::recognition/videomae/'
            'vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400.py',
            'VisionTransformer',
        ),
    ],
)
def test_the_backbone_of_mmactions_recognisers_is_found(config, plain):
    backbone = config_backbone(config)
    assert conventional_backbone(backbone)['type'] == f'mmaction.{plain}'
    reversible = reversible_backbone(backbone)
    assert reversible['type'] == f'Dr2{plain}'
    assert not {'pretrained', 'init_cfg'} & reversible.keys()


def test_an_unknown_type_is_named_with_those_that_are_accepted():
    with pytest.raises(UserError, match='ResNet.*Dr2VisionTransformer'):
        conventional_backbone(dict(type='ResNet'))


def test_a_single_output_is_a_list_of_one():
    tensor = torch.zeros(2)
    assert output_list(tensor) == [tensor]
    assert output_list((tensor, tensor)) == [tensor, tensor]


@pytest.mark.parametrize(
    'name, size', [('video-swin-t', (16, 112, 112)), ('videomae-s', (16, 160, 160))]
)
def test_a_video_step_takes_less_than_checkpointing_and_a_budget_is_kept(name, size):
    conventional, checkpoint, dr2 = backbone_memory(BACKBONES[name], size, 1)
    assert dr2['peak_bytes'] < checkpoint['peak_bytes'] / 2
    assert checkpoint['peak_bytes'] < conventional['peak_bytes'] / 2
    row = budget_memory(BACKBONES[name], 0.4, size, 1)
    assert dr2['peak_bytes'] < row['peak_bytes'] <= row['budget_bytes']
    assert '#' in ''.join(row['plan'])


@pytest.mark.parametrize(
    ('name', 'depth'),
    [('rev-vit-s', 12), ('rev-vit-l', 24), ('rev-mvit-b', 16), ('mvit-t', 10)],
)
def test_published_networks_tell_their_depth_which_is_fixed(name, depth):
    backbone = named_backbone(name)
    assert depths_of(backbone) == [depth]
    with pytest.raises(UserError, match='cannot be set'):
        with_depths(backbone, [2])
