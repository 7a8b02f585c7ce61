"""Image ViTs of timm see a still clip as they see its image."""

import pytest
import torch

# Before timm: cures an import that fails beside a CPU build of torch.
import dr2net_mm  # noqa: F401
from dr2net_mm.errors import UserError
from dr2net_mm.import_weights import timm_vit_to_mmaction
from dr2net_mm.import_weights.timm_vit import inflate, spatial_positions

DIMS, HEADS, SIDE = 24, 3, 16

MODELS = {
    'mean pooling': dict(class_token=False, global_pool='avg'),
    'mean pooling, layer scale': dict(
        class_token=False, global_pool='avg', init_values=0.5
    ),
    'class token': dict(class_token=True, global_pool='token'),
    'class token out of the mean': dict(class_token=True, global_pool='avg'),
    'registers': dict(class_token=True, global_pool='token', reg_tokens=4),
    'registers without positions': dict(
        class_token=True, global_pool='token', reg_tokens=4, no_embed_class=True
    ),
    'no qkv bias': dict(class_token=True, global_pool='token', qkv_bias=False),
}


def timm_model(seed=0, **options):
    """A tiny ViT for images of 16 pixels with random weights."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    sizes = dict(img_size=SIDE, patch_size=4, embed_dim=DIMS, depth=2, num_heads=HEADS)
    model = VisionTransformer(**{**sizes, 'num_classes': 7, **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def converted(model, num_frames=2, **options):
    options = dict(img_size=SIDE, num_frames=num_frames, **options)
    return timm_vit_to_mmaction(model.state_dict(), backbone_only=True, **options)


@pytest.fixture
def video_model(build, load):
    """The mmaction backbone of a conversion, with its weights."""

    def make(conversion, **changes):
        cfg = dict(conversion.backbone, num_heads=HEADS, **changes)
        return load(build(cfg), conversion.weights)

    return make


def still_clip(frames=2):
    image = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return image, image.unsqueeze(2).repeat(1, 1, frames, 1, 1)


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('kind', ['VisionTransformer', 'Dr2VisionTransformer'])
def test_no_weight_is_missing_or_too_many(name, kind, video_model):
    conversion = converted(timm_model(**MODELS[name]), num_frames=4)
    assert video_model(conversion, type=kind)(still_clip(4)[1]).shape == (2, DIMS)


@pytest.mark.parametrize('name', MODELS)
def test_a_still_clip_has_the_patch_embedding_of_its_image(name, video_model):
    model = timm_model(**MODELS[name])
    image, clip = still_clip(4)
    embedded = video_model(converted(model, num_frames=4)).patch_embed(clip)[0]
    expected = model.patch_embed(image).repeat(1, 2, 1)
    assert torch.allclose(embedded, expected, atol=1e-6)


@pytest.mark.parametrize('name', ['mean pooling', 'mean pooling, layer scale'])
def test_a_mean_pooled_network_gives_a_still_tubelet_the_features_of_its_image(
    name, video_model
):
    model = timm_model(**MODELS[name])
    # Key biases too, which mmaction has no parameter for, change nothing.
    assert model.blocks[0].attn.qkv.bias[DIMS : 2 * DIMS].abs().min() > 0
    image, clip = still_clip()
    features = video_model(converted(model))(clip)
    expected = model.forward_head(model.forward_features(image), pre_logits=True)
    assert torch.allclose(features, expected, atol=1e-5)


def test_a_dropped_key_bias_is_announced_where_there_is_one():
    model = timm_model(**MODELS['mean pooling'])
    assert any('NON-ZERO KEY BIASES' in note for note in converted(model).notes)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.qkv.bias[DIMS : 2 * DIMS] = 0
    assert not any('KEY BIASES' in note for note in converted(model).notes)


def test_what_is_dropped_is_said():
    notes = ' '.join(converted(timm_model(**MODELS['registers'])).notes)
    assert 'dropped cls_token, reg_token' in notes
    assert 'dropped head.bias, head.weight: a classifier of images' in notes
    assert "fc_norm starts afresh (weight 1, bias 0) in place of the checkpoint's " in (
        notes
    )


def test_every_time_has_the_positions_of_the_image_without_its_extra_tokens():
    model = timm_model(**MODELS['registers'])
    positions = converted(model, num_frames=6).weights['pos_embed']
    patches = model.pos_embed[:, 5:]
    assert torch.equal(positions, patches.repeat(1, 3, 1))


def test_positions_of_another_size_are_those_of_timm():
    from timm.layers import resample_abs_pos_embed

    model = timm_model(**MODELS['class token'])
    notes = []
    resized = spatial_positions(model.pos_embed.detach(), 1, 6, notes)
    expected = resample_abs_pos_embed(model.pos_embed, (6, 6), num_prefix_tokens=1)
    assert torch.allclose(resized, expected[:, 1:], atol=1e-6)
    assert notes == ['pos_embed is interpolated from 4 x 4 to 6 x 6']


def test_positions_can_be_those_of_videomae(video_model):
    conversion = converted(timm_model(**MODELS['class token']), positions='sincos')
    assert 'use_learnable_pos_emb' not in conversion.backbone
    backbone = video_model(conversion)
    fresh = type(backbone)(
        img_size=SIDE, patch_size=4, embed_dims=DIMS, num_heads=HEADS, num_frames=2
    )
    assert torch.equal(backbone.pos_embed, fresh.pos_embed)


def test_the_norm_of_a_class_token_can_stay_behind_every_token(video_model):
    model = timm_model(**MODELS['class token'])
    conversion = converted(model, final_norm='norm')
    assert torch.equal(conversion.weights['norm.bias'], model.norm.bias)
    maps = video_model(conversion, return_feat_map=True)(still_clip()[1])
    assert maps.shape == (2, DIMS, 1, 4, 4)


def test_inflated_weights_sum_to_those_of_the_image():
    weight = torch.randn(5, 3, 4, 4)
    assert torch.allclose(inflate(weight, 3).sum(2), weight, atol=1e-6)


OTHER_NETWORKS = {
    'normed queries': (dict(qk_norm=True), 'blocks.0.attn.k_norm.bias'),
    'a norm before the blocks': (dict(pre_norm=True), 'norm_pre.bias'),
    'attention pooling': (dict(global_pool='map'), 'attn_pool'),
}


@pytest.mark.parametrize('name', OTHER_NETWORKS)
def test_a_network_that_mmaction_cannot_compute_is_refused(name):
    options, tensor = OTHER_NETWORKS[name]
    with pytest.raises(UserError, match=f'it has {tensor}'):
        converted(timm_model(**options))


def test_a_gated_feed_forward_network_is_refused():
    from timm.layers import SwiGLU

    with pytest.raises(UserError, match='only plain vision transformers'):
        converted(timm_model(mlp_layer=SwiGLU))


def test_positions_that_form_no_square_are_refused():
    with pytest.raises(UserError, match='has 7 positions, of which 1 may be class'):
        spatial_positions(torch.zeros(1, 7, DIMS), 1, 4, [])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(tubelet_size=0), 'tubelet size 0; it must be at least 1'),
        (dict(positions='linear'), "positions 'linear' are unknown"),
        (dict(final_norm='last'), "final norm 'last' is unknown"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        converted(timm_model(**MODELS['class token']), **options)
