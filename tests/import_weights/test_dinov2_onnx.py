"""A small network with the modules of Hugging Face's DINOv2, exported by torch."""

import math

import pytest
import torch
from torch import nn

from dr2net_mm.errors import UserError
from dr2net_mm.import_weights import dinov2_onnx_to_timm, read_onnx_weights

onnx = pytest.importorskip('onnx')
timm = pytest.importorskip('timm')

WIDTH, HEADS, DEPTH, SIZE = 12, 2, 2, 28


class Holder(nn.Module):
    """Modules by name, called one after the other; their names are in the export."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        shape = (*x.shape[:2], HEADS, WIDTH // HEADS)
        q, k, v = (
            part(x).view(shape).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        weights = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).softmax(-1)
        return (weights @ v).transpose(1, 2).reshape(x.shape)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.lambda1 = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x):
        return x * self.lambda1


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = SelfAttention()
        self.output = Holder(dense=nn.Linear(WIDTH, WIDTH))

    def forward(self, x):
        return self.output(self.attention(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2))
        self.attention, self.mlp = Attention(), Mlp()
        self.layer_scale1, self.layer_scale2 = Scale(), Scale()

    def forward(self, x):
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.ModuleList(Layer() for _ in range(DEPTH))

    def forward(self, x):
        for layer in self.layer:
            x = layer(x)
        return x


class Embeddings(nn.Module):
    def __init__(self, interpolates):
        super().__init__()
        self.interpolates = interpolates
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.patch_embeddings = Holder(projection=nn.Conv2d(3, WIDTH, 14, 14))
        self.position_embeddings = nn.Parameter(torch.randn(1, 5, WIDTH))

    def forward(self, x):
        token = self.cls_token.expand(x.shape[0], -1, -1)
        patches = self.patch_embeddings(x).flatten(2).transpose(1, 2)
        return torch.cat([token, patches], dim=1) + self._positions(x)

    def _positions(self, x):
        if not self.interpolates:
            return self.position_embeddings
        first, rest = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        side = x.shape[2] // 14  # known only when the export runs
        rest = rest.reshape(1, side, side, WIDTH).permute(0, 3, 1, 2)
        rest = nn.functional.interpolate(rest, size=(side, side), mode='bicubic')
        rest = rest.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)
        return torch.cat([first, rest], dim=1)


class Dinov2(nn.Module):
    def __init__(self, interpolates):
        super().__init__()
        self.embeddings = Embeddings(interpolates)
        self.encoder = Encoder()
        self.layernorm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, x):
        return self.layernorm(self.encoder(self.embeddings(x)))


class Salience(nn.Module):
    """A backbone with something behind it."""

    def __init__(self, interpolates):
        super().__init__()
        self.backbone = Dinov2(interpolates)
        self.decoder = nn.Linear(WIDTH, 1)

    def forward(self, x):
        return self.decoder(self.backbone(x))


@pytest.fixture(scope='module', params=[True, False], ids=['interpolated', 'fixed'])
def network(request):
    torch.manual_seed(0)
    network = Salience(request.param).eval()
    for name, parameter in network.named_parameters():
        if 'norm' in name:
            # An export stores equal tensors once.
            nn.init.normal_(parameter)
    return network


@pytest.fixture(scope='module')
def onnx_file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp('onnx') / 'network.onnx'
    # The exporter that names matrices by numbers, as that of 2025 did.
    torch.onnx.export(
        network,
        torch.randn(1, 3, SIZE, SIZE),
        str(path),
        dynamo=False,
        input_names=['images'],
        dynamic_axes=dict(images=[0, 2, 3]),
    )
    return path


def model():
    return timm.create_model(
        'vit_small_patch14_dinov2',
        img_size=SIZE,
        embed_dim=WIDTH,
        num_heads=HEADS,
        depth=DEPTH,
        num_classes=0,
    ).eval()


def test_timm_s_model_with_the_converted_weights_computes_the_same(network, onnx_file):
    conversion = dinov2_onnx_to_timm(read_onnx_weights(onnx_file))
    converted = model()
    assert not any(converted.load_state_dict(conversion.weights, strict=True))
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = network.backbone(images)
        torch.testing.assert_close(converted.forward_features(images), expected)


def test_what_is_behind_the_backbone_is_dropped_and_noted(onnx_file):
    conversion = dinov2_onnx_to_timm(read_onnx_weights(onnx_file))
    assert 'decoder' in ' '.join(conversion.notes)
    assert not any('decoder' in name for name in conversion.weights)


def test_a_missing_matrix_is_named(onnx_file):
    weights = read_onnx_weights(onnx_file)
    del weights['backbone.encoder.layer.1.attention.attention.key.weight']
    with pytest.raises(UserError, match='no encoder.layer.1.attention.attention.key'):
        dinov2_onnx_to_timm(weights)


def test_weights_of_another_network_are_refused(onnx_file):
    weights = read_onnx_weights(onnx_file)
    weights['backbone.encoder.layer.0.gate.weight'] = torch.ones(2, 2)
    with pytest.raises(UserError, match='has blocks.0.gate.weight'):
        dinov2_onnx_to_timm(weights)


def test_a_file_that_is_not_onnx_is_one_clear_line(tmp_path):
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'not a network')
    with pytest.raises(UserError, match='is not an ONNX file'):
        read_onnx_weights(broken)
    with pytest.raises(UserError, match='no such ONNX file'):
        read_onnx_weights(tmp_path / 'missing.onnx')
