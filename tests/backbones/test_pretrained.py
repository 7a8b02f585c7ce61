"""Files of weights that fit a backbone, and those that must not pass unnoticed."""

from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.config import ConfigDict

from dr2net_mm.backbones import (
    ConventionalSwinTransformer3D,
    Dr2MViT,
    Dr2SwinTransformer,
    Dr2SwinTransformer3D,
    Dr2VisionTransformer,
    FrozenVisionTransformer,
    RevVisionTransformer,
)
from dr2net_mm.backbones.base.pretrained import guarded_loading, inflated
from dr2net_mm.errors import UserError

SWIN = dict(
    embed_dims=8, depths=(1, 2), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1),
    window_size=4,
)  # fmt: skip
SWIN3D = dict(
    arch=dict(embed_dims=8, depths=(1, 2), num_heads=(1, 2)), window_size=(2, 4, 4),
    out_indices=(0, 1),
)  # fmt: skip
VIT = dict(
    img_size=16, patch_size=8, embed_dims=8, depth=2, num_heads=2, num_frames=4,
)  # fmt: skip

Weights = Dict[str, Any]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], str]:
    def save(content: Any) -> str:
        path = tmp_path / 'weights.pth'
        torch.save(content, path)
        return str(path)

    return save


def swin(path: str, made=Dr2SwinTransformer, **changes) -> Any:
    init_cfg = ConfigDict(type='Pretrained', checkpoint=path)
    return made(**{**SWIN, **changes}, init_cfg=init_cfg)


def swin3d(path: str, two_dimensional: bool = False, **changes) -> Any:
    return Dr2SwinTransformer3D(
        **{**SWIN3D, **changes}, pretrained=path, pretrained2d=two_dimensional
    )


def vit(path: str, **changes) -> Any:
    return Dr2VisionTransformer(**{**VIT, **changes}, pretrained=path)


def below(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def detector(weights: Weights) -> Weights:
    head = {'bbox_head.fc.weight': torch.zeros(2, 2)}
    return dict(state_dict={**below('backbone.', weights), **head})


def authors(weights: Weights) -> Weights:
    """A Swin under Microsoft's names, up to the order within patch merging."""
    renamed = {'head.weight': torch.zeros(10, 16), 'norm.weight': torch.ones(16)}
    renamed['norm.bias'] = torch.zeros(16)
    for name, value in weights.items():
        if name.startswith(('norm', 'dual_residual')):
            continue
        for ours, theirs in (
            ('stages.', 'layers.'), ('attn.w_msa.', 'attn.'),
            ('ffn.layers.0.0.', 'mlp.fc1.'), ('ffn.layers.1.', 'mlp.fc2.'),
            ('patch_embed.projection.', 'patch_embed.proj.'),
        ):  # fmt: skip
            name = name.replace(ours, theirs)
        renamed[name] = value
    return dict(model=renamed)


def swin_weights(**changes) -> Weights:
    torch.manual_seed(1)
    return Dr2SwinTransformer(**{**SWIN, **changes}).state_dict()


def swin3d_weights(**changes) -> Weights:
    torch.manual_seed(1)
    return Dr2SwinTransformer3D(
        **{**SWIN3D, **changes}, pretrained2d=False
    ).state_dict()


def vit_weights(**changes) -> Weights:
    torch.manual_seed(1)
    return Dr2VisionTransformer(**{**VIT, **changes}).state_dict()


def test_what_fits_is_loaded(saved):
    for weights, made, wrap in (
        (swin_weights(), swin, detector),
        # mmdet's own class finds nothing in a bare backbone.
        (swin_weights(), swin, lambda weights: weights),
        (swin3d_weights(), swin3d, lambda weights: dict(state_dict=weights)),
        (
            vit_weights(),
            vit,
            lambda weights: {**weights, 'head.weight': torch.zeros(2)},
        ),
    ):
        backbone = made(saved(wrap(weights)))
        backbone.init_weights()
        for name, value in backbone.state_dict().items():
            assert torch.equal(value, weights[name]), name


def test_legitimate_parts_are_taken(saved):
    # Another window, whose tables mmdet resizes; a classifier's file without norms.
    backbone = swin(saved(detector(swin_weights(window_size=2))))
    backbone.init_weights()
    backbone = swin(saved(authors(swin_weights())), convert_weights=True)
    backbone.init_weights()
    name = 'stages.1.blocks.1.ffn.layers.1.weight'
    assert torch.equal(backbone.state_dict()[name], swin_weights()[name])


def test_a_swin_of_images_is_inflated_to_video(saved):
    weights = authors(swin_weights())
    backbone = swin3d(saved(weights), two_dimensional=True)
    backbone.init_weights()
    name = 'layers.1.blocks.1.mlp.fc1.weight'
    assert torch.equal(backbone.state_dict()[name], weights['model'][name])


REFUSED = {
    'deeper model': (swin, swin_weights, dict(depths=(1, 3)), detector, 'depths'),
    'deeper file': (swin, swin_weights, dict(depths=(1, 1)), detector, 'depths'),
    'fewer stages': (
        swin, swin_weights,
        dict(depths=(1,), num_heads=(1,), strides=(4,), out_indices=(0,)), detector,
        'depths',
    ),
    'width': (swin, swin_weights, dict(embed_dims=16), detector, 'embed_dims'),
    'heads': (swin, swin_weights, dict(num_heads=(2, 4)), detector, 'num_heads'),
    'channels': (swin, swin_weights, dict(in_channels=4), detector, 'inflate_input'),
    'authors': (swin, swin_weights, {}, authors, 'convert_weights=True'),
    'foreign': (
        swin, swin_weights, {}, lambda _: {'layer1.0.conv1.weight': torch.zeros(2)},
        'ResNet',
    ),
    'empty': (swin, swin_weights, {}, lambda _: {}, 'without weights'),
    'video: authors of images': (
        swin3d, swin3d_weights, {}, lambda _: authors(swin_weights()), 'pretrained2d',
    ),
    'video: window': (
        swin3d, swin3d_weights, dict(window_size=(2, 2, 2)), dict, 'window_size',
    ),
    'video: detector': (swin3d, swin3d_weights, {}, detector, "prefix='backbone.'"),
    'video: depth': (
        swin3d, swin3d_weights,
        dict(arch=dict(embed_dims=8, depths=(1, 3), num_heads=(1, 2))), dict, 'depths',
    ),
    'vit: deeper model': (vit, vit_weights, dict(depth=3), dict, 'depth'),
    'vit: deeper file': (vit, vit_weights, dict(depth=1), dict, 'depth'),
    'vit: width': (vit, vit_weights, dict(embed_dims=16), dict, 'embed_dims'),
    'vit: pretraining': (
        vit, vit_weights, {}, lambda weights: below('encoder.', weights),
        'videomae_to_mmaction',
    ),
    'vit: empty': (vit, vit_weights, {}, lambda _: dict(state_dict={}), 'Copy'),
}  # fmt: skip


@pytest.mark.parametrize('case', sorted(REFUSED))
def test_what_does_not_fit_is_one_line(saved, case):
    made, weights, changes, wrap, words = REFUSED[case]
    path = saved(wrap(weights()))
    with pytest.raises(UserError) as caught:
        made(path, **changes).init_weights()
    line = str(caught.value)
    assert path in line and words in line and '\n' not in line
    assert 'tensors can be loaded' in line


def test_a_shallower_file_says_how_much_of_it_fits(saved):
    path = saved(vit_weights())
    total = len(list(Dr2VisionTransformer(**dict(VIT, depth=3)).parameters()))
    with pytest.raises(UserError, match=rf'\d+ of {total} tensors.*blocks\.2\.'):
        vit(path, depth=3).init_weights()


@pytest.mark.parametrize('channels', [1, 2, 4, 7])
def test_the_first_layer_is_inflated_if_asked(saved, channels):
    weights = swin_weights()
    changes = dict(in_channels=channels, inflate_input=True)
    backbone = swin(saved(detector(weights)), **changes)
    backbone.init_weights()
    name = 'patch_embed.projection.weight'
    found = backbone.state_dict()[name]
    assert torch.equal(found, inflated(weights[name], channels))
    vit_backbone = vit(saved(vit_weights()), **changes)
    vit_backbone.init_weights()
    assert torch.equal(
        vit_backbone.state_dict()[name], inflated(vit_weights()[name], channels)
    )


def test_channels_are_repeated_and_scaled():
    weight = torch.tensor([3.0, 6.0, 9.0]).view(1, 3, 1, 1)
    assert inflated(weight, 6).flatten().tolist() == [1.5, 3.0, 4.5] * 2
    assert inflated(weight, 1).flatten().tolist() == [18.0]
    assert inflated(weight, 4).flatten().tolist() == [2.25, 4.5, 6.75, 2.25]


def test_a_conventional_backbone_is_guarded_too(saved):
    backbone = swin(saved(swin_weights()), SwinTransformer)
    with pytest.raises(UserError, match='bare-backbone://'):
        with guarded_loading(backbone):
            backbone.init_weights()
    backbone = swin(f'bare-backbone://{saved(swin_weights())}', SwinTransformer)
    with guarded_loading(backbone):
        backbone.init_weights()
    name = 'stages.1.blocks.1.ffn.layers.1.weight'
    assert torch.equal(backbone.state_dict()[name], swin_weights()[name])


def mvit(path: str, made=None, **changes) -> Any:
    arch = {**dict(embed_dims=8, num_layers=5, num_heads=1), **changes.pop('arch', {})}
    arch = dict(arch, downscale_indices=[1, 3])
    arguments = {**dict(arch=arch, spatial_size=32, temporal_size=4), **changes}
    return (made or Dr2MViT)(**arguments, pretrained=path)


def rev_vit(path: str, **changes) -> Any:
    arch = {**dict(embed_dims=16, num_layers=3, num_heads=2), **changes.pop('arch', {})}
    arguments = {**dict(arch=arch, img_size=32, patch_size=8), **changes}
    init_cfg = dict(type='Pretrained', checkpoint=path) if path else None
    return RevVisionTransformer(**arguments, init_cfg=init_cfg)


def frozen_vit(path: str, **changes) -> Any:
    return FrozenVisionTransformer(**{**VIT, **changes}, pretrained=path)


def conventional_swin3d(path: str, **changes) -> Any:
    arguments = {**SWIN3D, 'pretrained2d': False, **changes}
    return ConventionalSwinTransformer3D(**arguments, pretrained=path)


FURTHER = dict(
    mvit=mvit, rev_vit=rev_vit, frozen=frozen_vit, swin3d=conventional_swin3d
)
DEEPER = dict(
    mvit=dict(arch=dict(num_layers=6)), rev_vit=dict(arch=dict(num_layers=4)),
    frozen=dict(depth=3),
    swin3d=dict(arch=dict(embed_dims=8, depths=(1, 3), num_heads=(1, 2))),
)  # fmt: skip


@pytest.mark.parametrize('kind', sorted(FURTHER))
def test_every_backbone_takes_whole_files_alone(kind, saved):
    make = FURTHER[kind]
    torch.manual_seed(1)
    weights = make(None).state_dict()
    backbone = make(saved(weights))
    backbone.init_weights()
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, weights[name]), name
    block = next(n for n in weights if n.endswith('1.attn.proj.weight'))
    cases = {
        'Copy': {},
        'incomplete': {n: v for n, v in weights.items() if n != block},
        'Take a file of': {'layer1.0.conv1.weight': torch.zeros(2, 2)},
    }
    for words, content in cases.items():
        path = saved(content)
        with pytest.raises(UserError, match=words) as caught:
            make(path).init_weights()
        assert '\n' not in str(caught.value) and path in str(caught.value)
    path = saved(weights)
    with pytest.raises(UserError, match=r'has no .*; .* more\)\. Set depths'):
        make(path, **DEEPER[kind]).init_weights()


@pytest.mark.parametrize('kind', ['mvit', 'rev_vit'])
def test_further_backbones_inflate_their_first_layer(kind, saved):
    make, name = FURTHER[kind], 'patch_embed.projection.weight'
    weights = make(None).state_dict()
    path = saved(weights)
    with pytest.raises(UserError, match='inflate_input=True'):
        make(path, in_channels=4).init_weights()
    backbone = make(path, in_channels=4, inflate_input=True)
    backbone.init_weights()
    assert torch.equal(backbone.state_dict()[name], inflated(weights[name], 4))


def test_positions_of_another_size_are_named(saved):
    path = saved(mvit(None).state_dict())
    with pytest.raises(UserError, match='rel_pos_t.*temporal_size'):
        mvit(path, temporal_size=8).init_weights()


def test_the_line_names_the_file_that_was_given(saved):
    path = saved(swin_weights())
    with pytest.raises(UserError) as caught:
        swin(path, depths=(1, 3)).init_weights()
    line = str(caught.value)
    assert f'{path!r}' in line and "bare backbone: mmdet's Swin" in line
    assert 'bare-backbone://' not in line
