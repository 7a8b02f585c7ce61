import math

import pytest
import torch
from torch import nn

from dr2net_mm.tasks.temporal_detection.models.actionformer.attention import (
    ChannelNorm,
    LocalSelfAttention,
    ScaledDropPath,
    TransformerBlock,
    local_attention,
)
from dr2net_mm.tasks.temporal_detection.models.actionformer.pyramid import (
    TransformerPyramid,
    sinusoids,
)


def attention_by_hand(query, key, value, reach):
    """Every position by itself, over the slice of positions that it sees."""
    outputs = []
    for i in range(query.shape[2]):
        seen = slice(max(0, i - reach), i + reach + 1)
        scores = query[:, :, i : i + 1] @ key[:, :, seen].transpose(-1, -2)
        weights = (scores / math.sqrt(query.shape[-1])).softmax(dim=-1)
        outputs.append(weights @ value[:, :, seen])
    return torch.cat(outputs, dim=2)


@pytest.mark.parametrize('length', [1, 2, 5, 6, 7, 12, 13])
@pytest.mark.parametrize('window', [3, 5, 9, None])
def test_a_position_attends_to_the_window_around_it(length, window):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 2, length, 4, dtype=torch.float64)
    reach = length if window is None else window // 2
    torch.testing.assert_close(
        local_attention(query, key, value, window),
        attention_by_hand(query, key, value, reach),
    )


def test_gradients_of_local_attention_are_those_of_the_slices():
    torch.manual_seed(0)
    # A length that leaves the last block half empty.
    tensors = torch.randn(3, 1, 2, 7, 4, dtype=torch.float64)
    weight, gradients = torch.randn(1, 2, 7, 4, dtype=torch.float64), []
    for function, argument in ((local_attention, 5), (attention_by_hand, 2)):
        leaf = tensors.clone().requires_grad_()
        (function(*leaf, argument) * weight).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('length', [8, 9])
@pytest.mark.parametrize('stride', [1, 2])
def test_a_block_halves_the_length_rounding_up(length, stride):
    block = TransformerBlock(8, heads=2, window=3, stride=stride)
    output = block(torch.randn(2, 8, length))
    assert output.shape == (2, 8, -(-length // stride))


def test_a_block_that_downsamples_skips_by_maximum():
    """With gains of zero the branches are silent."""
    block = TransformerBlock(1, heads=1, window=3, stride=2, layer_scale=0.0)
    x = torch.tensor([[[1.0, 5.0, 2.0, 0.0, -1.0, 3.0]]])
    assert block(x).flatten().tolist() == [5, 5, 3]


def test_attention_reaches_as_far_as_window_and_convolution():
    torch.manual_seed(0)
    attention = LocalSelfAttention(8, heads=2, window=3)
    x = torch.randn(1, 8, 16, requires_grad=True)
    attention(x)[0, :, 8].sum().backward()
    reached = x.grad.abs().sum(dim=(0, 1)).nonzero().flatten().tolist()
    # One position of the window, one of the depthwise convolution.
    assert reached == [6, 7, 8, 9, 10]


def test_channel_norm_normalizes_every_position():
    norm = ChannelNorm(3)
    x = torch.randn(2, 3, 5)
    expected = nn.functional.layer_norm(x.transpose(1, 2), (3,)).transpose(1, 2)
    torch.testing.assert_close(norm(x), expected)


def test_drop_path_drops_whole_videos_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = ScaledDropPath(3, drop_prob=0.25, initial=0.5)
    output = layer.train()(torch.ones(4000, 3, 2)).detach()
    kept = output[:, :1, :1]
    assert torch.equal(output, kept.expand_as(output))
    values = {round(value, 4) for value in kept.flatten().tolist()}
    assert values == {0.0, round(0.5 / 0.75, 4)}
    assert float(kept.mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.equal(layer.eval()(torch.ones(1, 3, 2)), torch.full((1, 3, 2), 0.5))


def test_levels_of_the_pyramid_halve():
    pyramid = TransformerPyramid(6, 8, 20, heads=2, windows=5, layers=(2, 1, 3))
    shapes = [tuple(level.shape) for level in pyramid(torch.randn(2, 6, 20))]
    assert shapes == [(2, 8, 20), (2, 8, 10), (2, 8, 5), (2, 8, 3)]


def test_each_level_may_have_its_window():
    pyramid = TransformerPyramid(
        6, 8, 16, heads=2, windows=(5, 3, None), layers=(1, 1, 2)
    )
    windows = [
        module.window
        for module in pyramid.modules()
        if isinstance(module, LocalSelfAttention)
    ]
    assert windows == [5, 3, None]


def test_position_encoding_is_sines_and_cosines():
    encoding = sinusoids(length=5, channels=4)
    assert encoding.shape == (4, 5)
    for t in range(5):
        expected = [
            math.sin(t) / 2,
            math.cos(t) / 2,
            math.sin(t / 100) / 2,
            math.cos(t / 100) / 2,
        ]
        assert encoding[:, t].tolist() == pytest.approx(expected, abs=1e-6)


def test_position_encoding_tells_equal_features_apart():
    options = dict(heads=2, windows=3, layers=(1, 0, 0), drop_path=0.0)
    x = torch.ones(1, 6, 16)
    for position_encoding in (False, True):
        torch.manual_seed(0)
        pyramid = TransformerPyramid(
            6, 8, 16, position_encoding=position_encoding, **options
        )
        (level,) = pyramid(x)
        assert torch.allclose(level[..., 5], level[..., 9]) != position_encoding


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(heads=3), 'channels is 8, which 3 heads'),
        (dict(windows=4), 'window is 4; it must be odd'),
        (dict(windows=(3, 3)), '2 windows and 3 levels'),
        (dict(layers=(0, 1, 2)), r'layers is \(0, 1, 2\)'),
        (dict(layers=(1, 1, 5)), 'temporal_length is 16, which cannot be halved 5'),
    ],
)
def test_a_pyramid_that_cannot_be_is_refused(options, message):
    arguments = dict(heads=2, windows=3, layers=(1, 1, 2))
    with pytest.raises(ValueError, match=message):
        TransformerPyramid(6, 8, 16, **dict(arguments, **options))
