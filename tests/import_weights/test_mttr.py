"""MTTR's published keys, both ways, and the sum of a patch kernel over time."""

import json
from pathlib import Path

import pytest
import torch
from mmaction.models.backbones.swin import SwinTransformer3D

from dr2net_mm.backbones import Dr2SwinTransformer3D
from dr2net_mm.errors import UserError
from dr2net_mm.import_weights import mm_to_mttr, mttr_to_mm, video_swin_to_mttr

KEYS = Path(__file__).parents[1] / 'fixtures/published_keys/mttr_a2d.json'
ARCH = dict(embed_dims=24, depths=(1, 1, 2), num_heads=(1, 2, 4))
SWIN = dict(window_size=(2, 4, 4), out_indices=(0, 1, 2), drop_path_rate=0.0)


def published():
    """Empty tensors of the names and shapes of a released checkpoint."""
    shapes = json.loads(KEYS.read_text(encoding='utf-8'))
    return {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}


def shapes_of(weights):
    return {name: tuple(value.shape) for name, value in weights.items()}


def test_every_published_key_has_a_place_and_comes_back():
    conversion = mttr_to_mm(published())
    assert shapes_of(mm_to_mttr(conversion.weights).weights) == shapes_of(published())


def test_the_model_of_the_config_has_exactly_the_converted_keys():
    pytest.importorskip('transformers')
    from mmengine.config import Config
    from mmengine.registry import MODELS

    config = Config.fromfile('configs/rvos/mttr_dr2-swin-t_w8_3xb2-amp-70e_a2d-rgb.py')
    model = config.model
    text = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
    model.text_encoder = dict(type='RobertaTextEncoder', config=text)
    model.backbone.pop('init_cfg')
    wanted = shapes_of(MODELS.build(model).state_dict())
    del wanted['backbone.dual_residual.alpha'], wanted['backbone.dual_residual.beta']
    assert shapes_of(mttr_to_mm(published()).weights) == wanted


def test_a_converted_checkpoint_keeps_every_value(mttr_model):
    weights = mttr_model.state_dict()
    back = mttr_to_mm(mm_to_mttr(weights).weights).weights
    plain = {name: value for name, value in weights.items() if 'dual_res' not in name}
    assert back.keys() == plain.keys()
    assert all(torch.equal(back[name], plain[name]) for name in plain)


@pytest.fixture
def mttr_model():
    pytest.importorskip('transformers')
    from mmengine.registry import MODELS

    return MODELS.build(
        dict(
            type='MTTR',
            backbone=dict(
                type='Dr2SwinTransformer3D',
                arch=ARCH,
                patch_size=(1, 4, 4),
                output_norm=False,
                dual_residual=dict(alpha=1.0, beta=0.0),
                **SWIN,
            ),
            text_encoder=dict(
                type='RobertaTextEncoder',
                config=dict(
                    hidden_size=16,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                    intermediate_size=32,
                ),
            ),
            backbone_channels=(24, 48, 96),
            embed_dims=64,
            num_queries=5,
            transformer=dict(num_heads=4, encoder_layers=1, decoder_layers=2),
        )
    )


def test_older_releases_have_positions_that_are_dropped_and_named():
    weights = published()
    name = 'transformer.text_encoder.embeddings.position_ids'
    weights[name] = torch.empty(1, 514, device='meta')
    conversion = mttr_to_mm(weights)
    assert 'position_ids' in conversion.notes[0]
    assert len(conversion.weights) == len(published())


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda w: w.pop('obj_queries.weight'), 'no queries.weight'),
        (
            lambda w: w.pop('spatial_decoder.gn2.bias'),
            'lacks mask_features.layers.1.gn',
        ),
        (lambda w: w.update(extra=torch.empty(1)), 'has extra'),
        (
            lambda w: w.update({'is_referred_head.bias': torch.empty(3)}),
            r'referred_head.bias is \(3,\) and should be \(2,\)',
        ),
        (
            lambda w: w.pop('transformer.encoder.layers.1.norm2.weight'),
            'lacks transformer.encoder.layers.1.norms.1.weight',
        ),
    ],
)
def test_wrong_checkpoints_are_refused(change, message):
    weights = published()
    change(weights)
    with pytest.raises(UserError, match=message):
        mttr_to_mm(weights)


def test_a_network_elsewhere_than_at_one_and_zero_is_not_exported():
    weights = mttr_to_mm(published()).weights
    for name, value in (('alpha', 0.3), ('beta', 0.7)):
        weights[f'backbone.dual_residual.{name}'] = torch.tensor(value)
    with pytest.raises(UserError, match=r'\(1, 0\) alone'):
        mm_to_mttr(weights)


def test_a_video_swin_with_a_summed_kernel_gives_the_maps_of_a_video_at_rest():
    torch.manual_seed(0)
    arch = dict(ARCH, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))
    plain = SwinTransformer3D(
        arch, patch_size=(2, 4, 4), pretrained2d=False, **{**SWIN, 'out_indices': (3,)}
    )
    # mmaction's eval() returns nothing.
    plain.eval()
    recognizer = {f'backbone.{k}': v for k, v in plain.state_dict().items()}
    recognizer['cls_head.fc_cls.weight'] = torch.zeros(2, 192)
    conversion = video_swin_to_mttr(recognizer)
    assert any('2 frames' in note for note in conversion.notes)
    backbone = Dr2SwinTransformer3D(
        arch=ARCH,
        patch_size=(1, 4, 4),
        output_norm=False,
        dual_residual=dict(alpha=1.0, beta=0.0),
        **SWIN,
    ).eval()
    weights = {k[len('backbone.') :]: v for k, v in conversion.weights.items()}
    backbone.load_state_dict(weights)
    frame = torch.randn(1, 3, 1, 32, 32)
    patches = plain.patch_embed(frame.expand(-1, -1, 4, -1, -1))
    expected = patches
    for number, layer in enumerate(list(plain.layers)[:3]):
        expected = layer(expected.contiguous(), do_downsample=False)
        if number < 2:
            expected = layer.downsample(expected).permute(0, 4, 1, 2, 3)
    found = backbone(frame.expand(-1, -1, 2, -1, -1))[-1]
    expected = expected.permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
