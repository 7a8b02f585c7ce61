"""ViTDet's pyramid, compared with one that is written down here layer by layer."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from dr2net_mm.backbones import SimpleFeaturePyramid

STRIDES = (4.0, 2.0, 1.0, 0.5)


def pyramid(**changes) -> SimpleFeaturePyramid:
    torch.manual_seed(0)
    cfg = dict(type='SimpleFeaturePyramid', in_channels=16, out_channels=8)
    neck = MODELS.build({**cfg, **changes}).double()
    with torch.no_grad():
        # Norms begin as the identity up to scale.
        for parameter in neck.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return neck


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / (variance + 1e-6).sqrt()
    return x * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def enlarged(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Transposed convolution of 2x2 with stride 2: each pixel becomes four."""
    batch, _, height, width = x.shape
    out = torch.einsum('bchw,cdij->bdhiwj', x, weight)
    out = out.reshape(batch, weight.shape[1], 2 * height, 2 * width)
    return out + bias.view(1, -1, 1, 1)


def reference(neck: SimpleFeaturePyramid, x: Tensor) -> list:
    """The levels, from the parameters in order and the published description."""
    outs = []
    for scale, level in zip(STRIDES, neck.levels):
        parameters = iter(level.parameters())

        def take(count: int, parameters=parameters) -> list:
            return [next(parameters) for _ in range(count)]

        y = x
        if scale == 0.5:
            y = y.unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
        if scale >= 2:
            y = enlarged(y, *take(2))
        if scale == 4:
            y = F.gelu(channel_norm(y, *take(2)))
            y = enlarged(y, *take(2))
        y = channel_norm(
            torch.einsum('bchw,dc->bdhw', y, take(1)[0][..., 0, 0]), *take(2)
        )
        y = channel_norm(F.conv2d(y, take(1)[0], padding=1), *take(2))
        assert not list(parameters)
        outs.append(y)
    return [*outs, outs[-1][:, :, ::2, ::2]]


def test_its_levels_are_those_of_an_independent_reference():
    neck = pyramid()
    x = torch.randn(2, 16, 6, 8, dtype=torch.float64)
    outs = neck([x])
    assert [tuple(out.shape[2:]) for out in outs] == [
        (24, 32), (12, 16), (6, 8), (3, 4), (2, 2),
    ]  # fmt: skip
    for out, expected in zip(outs, reference(neck, x)):
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


def test_fewer_scales_and_levels_and_another_norm_can_be_asked_for():
    neck = pyramid(scales=(2, 1), num_outs=3, norm_cfg=dict(type='GN', num_groups=2))
    outs = neck(torch.randn(1, 16, 4, 4, dtype=torch.float64))
    assert [out.shape[-1] for out in outs] == [8, 4, 2]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(in_channels=[16, 16]), r'one feature map.*out_indices=\[-1\]'),
        (dict(in_channels=18), 'in_channels is 18; .* multiple of 4'),
        (dict(scales=(4, 3)), 'factors out of'),
        (dict(scales=(1, 4)), 'from large to small'),
        (dict(num_outs=3), 'num_outs is 3; .* at least 4'),
        (dict(out_channels=0), 'out_channels is 0'),
    ],
)
def test_arguments_out_of_range_are_named(changes, said):
    arguments = {'in_channels': 16, **changes}
    with pytest.raises(ValueError, match=said):
        SimpleFeaturePyramid(**arguments)


@pytest.mark.parametrize(
    ('shapes', 'said'),
    [
        ([(1, 16, 4, 4), (1, 16, 4, 4)], 'takes one feature map, got 2'),
        ([(1, 8, 4, 4)], r'takes a map \[B, 16, H, W\], got shape \(1, 8, 4, 4\)'),
        ([(1, 16, 1, 4)], '1x4 cannot be halved'),
    ],
)
def test_feature_maps_that_do_not_fit_are_named(shapes, said):
    neck = SimpleFeaturePyramid(16, 8)
    with pytest.raises(ValueError, match=said):
        neck([torch.zeros(shape) for shape in shapes])
