"""Transformer, mask features and post-processing against torch's own functions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dr2net_mm.tasks.referring_segmentation.models.mask_features import MaskFeatures
from dr2net_mm.tasks.referring_segmentation.models.multimodal_transformer import (
    MultimodalTransformer,
)
from dr2net_mm.tasks.referring_segmentation.models.post_processing import binary_masks

CHANNELS, HEADS = 16, 4


def attention(weights, name, query, key, value, padding):
    """torch's attention with the weights of a layer, sequence first."""
    layer = nn.MultiheadAttention(CHANNELS, HEADS).double()
    prefix = f'{name}.attn.'
    layer.load_state_dict(
        {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
    )
    query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    return layer(query, key, value, key_padding_mask=padding)[0].transpose(0, 1)


def norm(weights, name, x):
    return F.layer_norm(
        x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias']
    )


def feed_forward(weights, name, x):
    x = F.linear(
        x, weights[f'{name}.layers.0.0.weight'], weights[f'{name}.layers.0.0.bias']
    )
    return F.linear(
        x.relu(), weights[f'{name}.layers.1.weight'], weights[f'{name}.layers.1.bias']
    )


def sine(padding):
    """Sine positions of DETR, rows first; written for one pixel at a time."""
    frames, height, width = padding.shape
    half = CHANNELS // 2
    places = torch.zeros(frames, CHANNELS, height, width, dtype=torch.float64)
    for n in range(frames):
        rows, columns = (~padding[n]).long().cumsum(0), (~padding[n]).long().cumsum(1)
        for y in range(height):
            for x in range(width):
                for axis, (at, last) in enumerate(
                    [
                        (rows[y, x], rows[-1, x]),
                        (columns[y, x], columns[y, -1]),
                    ]
                ):
                    angle = float(at) / (float(last) + 1e-6) * 2 * math.pi
                    for c in range(half):
                        value = angle / 10000 ** (2 * (c // 2) / half)
                        places[n, axis * half + c, y, x] = (
                            math.cos(value) if c % 2 else math.sin(value)
                        )
    return places


def test_transformer_is_that_of_the_paper_in_float64():
    torch.manual_seed(0)
    model = MultimodalTransformer(CHANNELS, HEADS, 24, 2, 2).double().eval()
    model.init_weights()
    visual = torch.randn(2, CHANNELS, 3, 4, dtype=torch.float64)
    text = torch.randn(2, 5, CHANNELS, dtype=torch.float64)
    visual_padding = torch.zeros(2, 3, 4, dtype=torch.bool)
    visual_padding[1, :, 3:] = True
    text_padding = torch.zeros(2, 5, dtype=torch.bool)
    text_padding[0, 3:] = True
    queries = torch.randn(6, CHANNELS, dtype=torch.float64)
    found = model(visual, visual_padding, text, text_padding, queries)

    weights = model.state_dict()
    x = torch.cat([visual.flatten(2).transpose(1, 2), text], 1)
    # mmdet computes positions in float32.
    places = sine(visual_padding).flatten(2).transpose(1, 2)
    places = torch.cat([places, torch.zeros_like(text)], 1)
    padding = torch.cat([visual_padding.flatten(1), text_padding], 1)
    for i in range(2):
        name = f'encoder.layers.{i}'
        added = attention(
            weights, f'{name}.self_attn', x + places, x + places, x, padding
        )
        x = norm(weights, f'{name}.norms.0', x + added)
        x = norm(
            weights, f'{name}.norms.1', x + feed_forward(weights, f'{name}.ffn', x)
        )
    target, states = torch.zeros(2, 6, CHANNELS, dtype=torch.float64), []
    for i in range(2):
        name, query = f'decoder.layers.{i}', target + queries
        added = attention(weights, f'{name}.self_attn', query, query, target, None)
        target = norm(weights, f'{name}.norms.0', target + added)
        added = attention(
            weights, f'{name}.cross_attn', target + queries, x + places, x, padding
        )
        target = norm(weights, f'{name}.norms.1', target + added)
        added = feed_forward(weights, f'{name}.ffn', target)
        target = norm(weights, f'{name}.norms.2', target + added)
        states.append(norm(weights, 'decoder.post_norm', target))
    memory = x[:, :12].transpose(1, 2).reshape(2, CHANNELS, 3, 4)
    torch.testing.assert_close(found.memory, memory, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.queries, torch.stack(states), atol=1e-5, rtol=0)


def test_what_stands_in_the_padding_has_no_influence():
    torch.manual_seed(0)
    model = MultimodalTransformer(CHANNELS, HEADS, 24, 2, 2).eval()
    visual, text = torch.randn(2, CHANNELS, 3, 4), torch.randn(2, 5, CHANNELS)
    visual_padding = torch.zeros(2, 3, 4, dtype=torch.bool)
    text_padding = torch.zeros(2, 5, dtype=torch.bool)
    visual_padding[1, :, 3:], text_padding[0, 3:] = True, True
    queries = torch.randn(6, CHANNELS)
    expected = model(visual, visual_padding, text, text_padding, queries)
    visual[1, :, :, 3:], text[0, 3:] = 100.0, -100.0
    found = model(visual, visual_padding, text, text_padding, queries)
    torch.testing.assert_close(found.queries, expected.queries)
    torch.testing.assert_close(found.memory[..., :3], expected.memory[..., :3])


def test_mask_features_are_a_chain_of_convolutions_with_finer_maps_added():
    torch.manual_seed(0)
    model = MaskFeatures(64, (6, 5), 8).double()
    model.init_weights()
    memory = torch.randn(2, 64, 3, 4, dtype=torch.float64)
    fine = [
        torch.randn(2, 6, 5, 7, dtype=torch.float64),
        torch.randn(2, 5, 9, 13, dtype=torch.float64),
    ]
    weights, x = model.state_dict(), memory

    def conv(name, x, padding):
        return F.conv2d(
            x, weights[f'{name}.weight'], weights[f'{name}.bias'], padding=padding
        )

    for number in range(4):
        if number >= 2:
            lateral = conv(f'laterals.{number - 2}', fine[number - 2], 0)
            height, width = lateral.shape[-2:]
            rows = torch.arange(height) * x.shape[-2] // height
            columns = torch.arange(width) * x.shape[-1] // width
            x = lateral + x[..., rows, :][..., columns]
        name = f'layers.{number}'
        x = conv(f'{name}.conv', x, 1)
        x = F.group_norm(x, 8, weights[f'{name}.gn.weight'], weights[f'{name}.gn.bias'])
        x = x.relu()
    torch.testing.assert_close(model(memory, fine), conv('output', x, 1))
    assert all(
        weights[name].abs().max() == 0 for name in weights if 'conv.bias' in name
    )


def test_masks_lose_the_padding_before_they_get_the_original_size():
    logits = torch.full((1, 1, 4, 4), -5.0)
    logits[..., :2] = 5.0
    masks = binary_masks(logits, (8, 8), (8, 4), (16, 12))
    assert masks.shape == (1, 1, 16, 12) and masks.all()
    assert not binary_masks(-logits, (8, 8), (8, 4), (16, 12)).any()


@pytest.mark.parametrize('width', [10, 48])
def test_a_width_that_cannot_be_divided_is_refused(width):
    with pytest.raises(ValueError, match=f'embed_dims is {width}'):
        MaskFeatures(width)
    with pytest.raises(ValueError, match='multiple of the heads'):
        MultimodalTransformer(width, 7)
