"""Checkpoints of the original VideoMAE compute the same under mmaction's names."""

import pytest
import torch

from dr2net_mm.errors import UserError
from dr2net_mm.import_weights import mmaction_to_videomae, videomae_to_mmaction
from dr2net_mm.import_weights.vit_layout import sincos_positions


@pytest.fixture
def convert(videomae):
    """Converts weights for the tiny clips of these tests."""

    def converted(weights, **options):
        sizes = dict(img_size=videomae.img_size, num_frames=videomae.num_frames)
        return videomae_to_mmaction(weights, **{**sizes, **options})

    return converted


VARIANTS = {
    'as published': dict(),
    'layer scale': dict(layer_scale=True),
    'learned positions': dict(learned=True),
    'no qkv bias': dict(qkv_bias=False),
}


@pytest.fixture(params=VARIANTS)
def variant(request, videomae):
    return videomae.finetuned(**VARIANTS[request.param])


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_finetuned_network_gives_the_same_logits(
    variant, convert, videomae, build, load
):
    conversion = convert(variant)
    fitting = dict(conversion.backbone, num_heads=videomae.heads)
    recognizer = load(build(videomae.recognizer(**fitting)), conversion.weights)
    clip = videomae.clip()
    logits = recognizer(clip.unsqueeze(1), None, mode='tensor', stage='head')
    expected = videomae.logits(variant, clip)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_a_dual_residual_network_takes_the_same_weights(
    variant, convert, videomae, build, load
):
    conversion = convert(variant)
    fitting = dict(
        conversion.backbone, num_heads=videomae.heads, type='Dr2VisionTransformer'
    )
    cfg = videomae.recognizer(**fitting, dual_residual=dict(alpha=1.0, beta=0.0))
    recognizer = load(build(cfg), conversion.weights)
    clip = videomae.clip()
    logits = recognizer.cls_head(recognizer.backbone(clip))
    assert torch.allclose(logits, videomae.logits(variant, clip), atol=2e-3)


def test_there_and_back_changes_no_bit(variant, convert):
    back = mmaction_to_videomae(convert(variant).weights)
    assert_equal_weights(variant, back.weights)


def test_a_backbone_alone_goes_back_too(convert, videomae):
    weights = videomae.finetuned()
    conversion = convert(weights, backbone_only=True)
    assert 'dropped the classifier' in conversion.notes
    assert not any(name.startswith('backbone.') for name in conversion.weights)
    back = mmaction_to_videomae(conversion.weights).weights
    headless = {n: v for n, v in weights.items() if not n.startswith('head.')}
    assert_equal_weights(headless, back)


def test_positions_that_mmaction_computes_may_be_missing_on_the_way_back(
    convert, videomae
):
    weights = videomae.finetuned()
    ours = convert(weights).weights
    del ours['backbone.pos_embed']
    assert_equal_weights(weights, mmaction_to_videomae(ours).weights)


@pytest.mark.parametrize('prefix', ['module.', 'backbone.', 'module.backbone.'])
def test_prefixes_of_wrappers_do_not_matter(prefix, convert, videomae):
    weights = videomae.finetuned()
    wrapped = {prefix + name: value for name, value in weights.items()}
    assert_equal_weights(convert(weights).weights, convert(wrapped).weights)


def test_pretraining_leaves_its_decoder_and_its_norm_behind(
    convert, videomae, build, load
):
    weights = videomae.pretrained()
    conversion = convert(weights)
    said = ' '.join(conversion.notes)
    assert 'decoder' in said and 'pretraining only' in said
    assert "fc_norm starts afresh (weight 1, bias 0) in place of the checkpoint's " in (
        said
    )
    bare = convert(weights, backbone_only=True)
    backbone = load(build(videomae.backbone()), bare.weights)
    assert torch.equal(backbone.fc_norm.weight, torch.ones(videomae.dims))
    kept = mmaction_to_videomae(conversion.weights).weights
    encoder = {
        name[len('encoder.') :]: value
        for name, value in weights.items()
        if name.startswith('encoder.') and not name.startswith('encoder.norm.')
    }
    norm = {f'fc_norm.{n}': kept[f'fc_norm.{n}'] for n in ('weight', 'bias')}
    assert_equal_weights({**encoder, **norm}, kept)


def test_the_norm_of_pretraining_serves_a_feature_map(convert, videomae, build, load):
    weights = videomae.pretrained()
    conversion = convert(weights, final_norm='norm', backbone_only=True)
    assert conversion.backbone['use_mean_pooling'] is False
    fitting = dict(conversion.backbone, num_heads=videomae.heads, return_feat_map=True)
    backbone = load(build(fitting), conversion.weights)
    clip = videomae.clip()
    encoder = {
        name[len('encoder.') :]: value
        for name, value in weights.items()
        if name.startswith('encoder.')
    }
    expected = videomae.normed_tokens(encoder, clip)
    maps = backbone(clip)
    assert maps.shape == (2, videomae.dims, 2, 2, 2)
    assert torch.allclose(maps.flatten(2).transpose(1, 2), expected, atol=1e-5)


def test_the_norm_of_pretraining_can_move_behind_the_pooling(convert, videomae):
    weights = videomae.pretrained()
    conversion = convert(weights, final_norm='fc_norm')
    moved = conversion.weights['backbone.fc_norm.weight']
    assert torch.equal(moved, weights['encoder.norm.weight'])
    assert 'norm of the checkpoint became fc_norm' in conversion.notes


@pytest.mark.parametrize('positions', [1, 8, 1568])
def test_positions_are_those_of_mmaction_bit_for_bit(positions):
    from mmaction.models.backbones.vit_mae import get_sinusoid_encoding

    expected = get_sinusoid_encoding(positions, 384)
    assert torch.equal(sincos_positions(positions, 384), expected)


def change(weights, **changes):
    """Weights with some replaced, or taken out where the value is None."""
    changed = {**weights, **changes}
    return {name: value for name, value in changed.items() if value is not None}


BROKEN = {
    'an unknown tensor': (
        {'blocks.0.attn.rel_pos': torch.zeros(3)},
        'it has blocks.0.attn.rel_pos',
    ),
    'a missing tensor': (
        {'blocks.1.mlp.fc2.bias': None},
        'it lacks blocks.1.mlp.layers.1.bias',
    ),
    'a wrong shape': (
        {'blocks.1.attn.proj.weight': torch.zeros(24, 23)},
        r'blocks.1.attn.proj.weight is \(24, 23\) and should be \(24, 24\)',
    ),
    'half of the biases': (
        {'blocks.1.attn.q_bias': None},
        'it lacks blocks.1.attn.q_bias',
    ),
    'no embedding': (
        {'patch_embed.proj.weight': None},
        'has no patch_embed.projection.weight',
    ),
    'an embedding of images': (
        {'patch_embed.proj.weight': torch.zeros(24, 3, 4, 4)},
        'a tensor of 5 dimensions is needed',
    ),
    'patches that are not square': (
        {'patch_embed.proj.weight': torch.zeros(24, 3, 2, 4, 8)},
        'patches of 4 x 8 pixels',
    ),
    'a classifier of other features': (
        {'head.weight': torch.zeros(5, 23)},
        r'cls_head.fc_cls.weight is \(5, 23\)',
    ),
}


@pytest.mark.parametrize('case', BROKEN)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(case, convert, videomae):
    changes, message = BROKEN[case]
    with pytest.raises(UserError, match=message):
        convert(change(videomae.finetuned(), **changes))


def test_learned_positions_of_other_clips_are_refused(convert, videomae):
    with pytest.raises(UserError, match=r'pos_embed is \(1, 8, 24\) and should be'):
        convert(videomae.finetuned(learned=True), num_frames=8)


def test_clips_smaller_than_a_patch_are_refused(convert, videomae):
    with pytest.raises(UserError, match='1 frames of 8 x 8 pixels do not hold'):
        convert(videomae.finetuned(), num_frames=1)


def test_each_direction_recognizes_the_other_names(convert, videomae):
    weights = videomae.finetuned()
    with pytest.raises(UserError, match='--to-original'):
        convert(convert(weights).weights)
    with pytest.raises(UserError, match='without --to-original'):
        mmaction_to_videomae(weights)


def test_an_unknown_place_of_the_norm_is_refused(convert, videomae):
    with pytest.raises(UserError, match="final norm 'last' is unknown; choose one of"):
        convert(videomae.finetuned(), final_norm='last')


def test_only_a_dual_residual_network_at_its_pretrained_point_is_exported(
    convert, videomae
):
    weights = videomae.finetuned()
    ours = convert(weights).weights
    for name, value in (('alpha', 1.0), ('beta', 0.0)):
        ours[f'backbone.dual_residual.{name}'] = torch.tensor(value)
    assert_equal_weights(weights, mmaction_to_videomae(ours).weights)
    ours['backbone.dual_residual.beta'] = torch.tensor(0.5)
    with pytest.raises(UserError, match=r'\(1.0, 0.5\).*end=\(1.0, 0.0\)'):
        mmaction_to_videomae(ours)
