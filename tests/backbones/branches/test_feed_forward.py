"""The feed-forward branch against mmcv's ``FFN`` itself."""

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from torch import nn

from dr2net_mm.backbones.branches import FeedForwardBranch

CHANNELS = 12


def feed_forward(drop_prob=0.0, **arguments):
    torch.manual_seed(0)
    layer = dict(type='DropPath', drop_prob=drop_prob) if drop_prob else None
    ffn = FFN(CHANNELS, 20, dropout_layer=layer, **arguments)
    norm = nn.LayerNorm(CHANNELS)
    nn.init.normal_(norm.bias)
    return norm.double(), ffn.double()


def branch_of(norm, ffn, chunk):
    """The branch of mmcv's ``FFN``."""
    layers = (ffn.layers, ffn.gamma2)
    hidden = ffn.feedforward_channels
    return FeedForwardBranch(norm, layers, hidden, ffn.dropout_layer, chunk)


def evaluate(branch, x):
    """The branch on a whole stream, by its pieces."""
    drop_mask = branch.drop_mask(x)
    parts = [branch(p.read(x), p, drop_mask) for p in branch.pieces(x)]
    return torch.cat([part.reshape(-1, CHANNELS) for part in parts]).view(x.shape)


@pytest.mark.parametrize('chunk', [None, 1, 7, 30, 10**6, 'auto'])
@pytest.mark.parametrize(
    'arguments',
    [
        {},
        dict(num_fcs=3),
        dict(act_cfg=dict(type='GELU')),
        dict(ffn_drop=0.3),
        dict(layer_scale_init_value=0.5),
    ],
    ids=str,
)
def test_it_is_mmcvs_ffn_without_its_identity(arguments, chunk):
    norm, ffn = feed_forward(**arguments)
    ffn.eval()
    branch = branch_of(norm, ffn, chunk)
    results = []
    for function in (
        lambda x: ffn(norm(x), identity=torch.zeros_like(x)),
        lambda x: evaluate(branch, x),
    ):
        generator = torch.Generator().manual_seed(1)
        shape = (2, 15, CHANNELS)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        out = function(x.requires_grad_())
        loss = (out * torch.linspace(-1, 1, CHANNELS)).sum()
        wanted = [x, *norm.parameters(), *ffn.parameters()]
        results.append((out, *torch.autograd.grad(loss, wanted)))
    for wanted, found in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    parameters = {id(p) for p in (*norm.parameters(), *ffn.parameters())}
    assert {id(p) for p in branch.parameters()} == parameters


@pytest.mark.parametrize('chunk', [None, 7])
def test_drop_path_drops_whole_samples_in_whatever_pieces(chunk):
    norm, ffn = feed_forward(drop_prob=0.4)
    branch = branch_of(norm, ffn, chunk)
    x = torch.randn(40, 5, CHANNELS, dtype=torch.float64)
    with torch.no_grad():
        dropped = evaluate(branch, x)
        ffn.eval()
        whole = evaluate(branch, x)
    kept = dropped.flatten(1).any(dim=1)
    assert 0 < kept.sum() < 40
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.6, rtol=1e-6, atol=1e-6)


def test_a_dropout_in_place_of_drop_path_is_refused():
    norm, ffn = feed_forward()
    ffn.dropout_layer = nn.Dropout(0.1)
    with pytest.raises(TypeError, match='must be DropPath or Identity, got Dropout'):
        branch_of(norm, ffn, None).drop_mask(torch.zeros(1, 2, CHANNELS))


def test_a_gain_multiplies_the_channels_and_gets_a_gradient():
    norm, ffn = feed_forward()
    gamma = nn.Parameter(torch.linspace(-1, 1, CHANNELS, dtype=torch.float64))
    x = torch.randn(2, 5, CHANNELS, dtype=torch.float64)
    plain = branch_of(norm, ffn, 3)
    scaled = FeedForwardBranch(
        norm, (ffn.layers,), ffn.feedforward_channels, nn.Identity(), 3, gamma
    )
    found, wanted = evaluate(scaled, x), evaluate(plain, x)
    torch.testing.assert_close(found, gamma * wanted)
    assert any(parameter is gamma for parameter in scaled.parameters())
    (gradient,) = torch.autograd.grad(found.sum(), [gamma])
    torch.testing.assert_close(gradient, wanted.sum((0, 1)))
