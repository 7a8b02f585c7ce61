"""Encoders that start from a vision transformer of images."""

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tests.tasks.point_segmentation.models.toolbox import pix4point


def image_vit(**changes) -> nn.Module:
    torch.manual_seed(3)
    arguments = dict(img_size=32, patch_size=16, embed_dim=24, depth=3, num_heads=3)
    vit = VisionTransformer(**{**arguments, 'num_classes': 4, **changes})
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.normal_()
    return vit


@pytest.fixture
def checkpoint(tmp_path):
    def save(wrap=lambda weights: weights, **changes):
        path = tmp_path / 'vit.pth'
        torch.save(wrap(image_vit(**changes).state_dict()), path)
        return str(path)

    return save


@pytest.mark.parametrize('kind', ['PointViT', 'Dr2PointViT'])
def test_tokens_of_the_blocks_are_those_of_the_image_network(
    kind, checkpoint, log_lines
):
    encoder = pix4point(kind, depth=3, pretrained=checkpoint()).encoder
    encoder.init_weights()
    x = torch.randn(2, 5, 24)
    if kind == 'Dr2PointViT':
        encoder.set_coefficients(1.0, 0.0)
    vit = image_vit()
    with torch.no_grad():
        found = encoder.eval()._run_blocks(x, torch.zeros_like(x))
        wanted = vit.eval().norm(vit.blocks(x))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=5e-3)
    assert torch.equal(encoder.cls_token, vit.cls_token)
    (line,) = [line for line in log_lines if 'took' in line]
    assert 'took 39 tensors, blocks 1 to 3, norm, cls_token' in line
    assert 'passed over: head, patch_embed, pos_embed' in line
    assert 'random weights: cls_pos, patch_embed, pos_embed' in line


def test_a_deeper_file_gives_its_first_blocks_and_says_so(checkpoint, log_lines):
    encoder = pix4point('PointViT', pretrained=checkpoint()).encoder
    before = encoder.patch_embed.convs[0][0][0][0].weight.clone()
    encoder.init_weights()
    assert torch.equal(
        encoder.blocks[1].mlp.fc1.bias, image_vit().blocks[1].mlp.fc1.bias
    )
    assert torch.equal(encoder.patch_embed.convs[0][0][0][0].weight, before)
    assert any('blocks 1 to 2 of 3' in line for line in log_lines)


def test_layer_scale_is_taken_with_the_blocks(checkpoint):
    path = checkpoint(init_values=0.1)
    encoder = pix4point(depth=3, layer_scale=1e-5, pretrained=path).encoder
    encoder.init_weights()
    gamma = image_vit(init_values=0.1).blocks[2].ls2.gamma
    assert torch.equal(encoder.blocks[2].ls2.gamma, gamma)


def test_files_of_other_kinds_are_read(tmp_path, checkpoint):
    wanted = image_vit().blocks[0].attn.qkv.weight
    tensors = {name: value.clone() for name, value in image_vit().state_dict().items()}
    save_file(tensors, tmp_path / 'vit.safetensors')
    paths = [
        str(tmp_path / 'vit.safetensors'),
        checkpoint(lambda weights: dict(model=weights)),
        checkpoint(lambda weights: {f'backbone.{k}': v for k, v in weights.items()}),
    ]
    for path in paths:
        encoder = pix4point('PointViT', pretrained=path).encoder
        encoder.init_weights()
        assert torch.equal(encoder.blocks[0].attn.qkv.weight, wanted)


@pytest.mark.parametrize(
    'vit, encoder, message',
    [
        (dict(embed_dim=48), {}, r'norm1.weight has shape \(48,\), the encoder takes'),
        (dict(depth=1), {}, 'blocks.1.norm1.weight is missing.*set depth'),
        (dict(init_values=0.1), {}, 'has LayerScale .*set layer_scale=1e-5'),
        ({}, dict(layer_scale=0.1), 'ls1.gamma is missing.*layer_scale=None'),
    ],
)
def test_a_file_that_does_not_fit_is_refused(vit, encoder, message, checkpoint):
    encoder = pix4point(**encoder, pretrained=checkpoint(**vit)).encoder
    with pytest.raises(ValueError, match=message):
        encoder.init_weights()


def test_a_file_of_something_else_and_none_at_all_are_refused(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(fc=torch.zeros(2)), path)
    encoder = pix4point(pretrained=str(path)).encoder
    with pytest.raises(ValueError, match='gives 0 of 24 tensors'):
        encoder.init_weights()
    with pytest.raises(FileNotFoundError, match='nowhere'):
        pix4point(pretrained='nowhere.pth').encoder.init_weights()
