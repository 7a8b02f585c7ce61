"""LoRA and adapters by themselves."""

import pytest
import torch
from torch import nn

from dr2net_mm.analysis.peers.adapters import ConvolutionalAdapter, add_adapters
from dr2net_mm.analysis.peers.blocks import block_lists
from dr2net_mm.analysis.peers.lora import LoraLinear, add_lora
from dr2net_mm.errors import UserError


def test_lora_adds_a_product_of_two_thin_matrices():
    linear = nn.Linear(6, 5)
    layer = LoraLinear(linear, rank=2)
    nn.init.normal_(layer.lora_b)
    x = torch.randn(3, 4, 6)
    weight = linear.weight + layer.lora_b @ layer.lora_a
    expected = nn.functional.linear(x, weight, linear.bias)
    torch.testing.assert_close(layer(x), expected)


def test_every_linear_layer_gets_a_lora_and_nothing_else_trains():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 2, bias=False)))
    add_lora(model, rank=1)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {'0.lora_a', '0.lora_b', '1.0.lora_a', '1.0.lora_b'}


def test_an_adapter_mixes_neighbors_once_it_is_trained():
    adapter = ConvolutionalAdapter(8, width=4)
    x = torch.randn(1, 9, 9, 8, requires_grad=True)
    assert torch.equal(adapter(x), x)
    nn.init.normal_(adapter.up.weight)
    adapter(x)[0, 4, 4].sum().backward()
    reached = x.grad[0].abs().sum(-1) > 0
    assert reached[1:8, 1:8].all() and not reached[0].any() and not reached[:, 8].any()


class Block(nn.Module):
    def __init__(self, outputs=1):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.outputs = outputs

    def forward(self, x):
        return self.norm(x) if self.outputs == 1 else (self.norm(x), None)


class Network(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.blocks = nn.ModuleList([Block(**options)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_a_class_token_passes_an_adapter_by():
    model = add_adapters(Network())
    nn.init.ones_(model.blocks[0].adapter.up.bias)
    x = torch.randn(2, 10, 8)
    added = model(x) - model.blocks[0].norm(x)
    assert added[:, 0].abs().max() == 0
    torch.testing.assert_close(added[:, 1:], torch.ones(2, 9, 8))


def test_networks_without_blocks_or_with_unknown_ones_are_refused():
    with pytest.raises(UserError, match='no list of blocks.*choose another'):
        block_lists(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UserError, match='returns tuple'):
        add_adapters(Network(outputs=2))(torch.randn(1, 4, 8))
