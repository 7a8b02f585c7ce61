"""Saved tensors that are moved or quantized."""

import gc

import pytest
import torch
from torch import nn

from dr2net_mm.analysis.peers.quantized import GROUP, PIECE, QuantizedTensors
from dr2net_mm.analysis.peers.saved_tensors import SMALLEST, OffloadedTensors


def gradients(model, x, packed=None):
    model.zero_grad()
    if packed is None:
        model(x).square().mean().backward()
    else:
        with packed.of(model, x):
            loss = model(x).square().mean()
        loss.backward()
    return [p.grad.clone() for p in model.parameters()]


@pytest.fixture()
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.Softmax(-1), nn.Linear(64, 64))


def test_offloaded_tensors_come_back_bit_for_bit(network):
    x = torch.randn(64, 64)
    expected = gradients(network, x)
    found = gradients(network, x, OffloadedTensors())
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_bytes_are_counted_both_ways_and_a_tensor_saved_twice_goes_once(network):
    packed = OffloadedTensors()
    x = torch.randn(64, 64)
    with packed.of(network, x):
        y = network(x)
    # The softmax keeps its output, and so does the linear layer after it; the input of
    # the network and weights stay.
    assert packed.moved_bytes == 4 * 64 * 64
    y.sum().backward()
    assert packed.moved_bytes == 3 * 4 * 64 * 64


def test_an_offloaded_tensor_without_values_has_the_layout_of_a_copy():
    packed = OffloadedTensors()
    for make in (
        lambda t: t,
        lambda t: t.transpose(1, 2),
        lambda t: t[:, ::2].permute(2, 0, 1),
    ):
        real = make(torch.randn(4, 8, 64))
        copy = packed.unpack(packed.pack(real))
        layout = packed.unpack(packed.pack(real.to('meta')))
        assert torch.equal(copy, real)
        assert layout.stride() == copy.stride() and layout.shape == copy.shape


@pytest.mark.parametrize('bits', [2, 4, 8])
def test_quantization_is_unbiased_and_off_by_less_than_a_step(bits):
    packed = QuantizedTensors(bits)
    values = torch.randn(3, 5, GROUP + 7)
    step = 7.5 / (2**bits - 1)  # no group spans more
    repeated = torch.stack([packed.unpack(packed.pack(values)) for _ in range(200)])
    assert (repeated - values).abs().max() < step
    assert (repeated.mean(0) - values).abs().mean() < 0.05 * step


def test_more_values_than_fit_a_piece_keep_their_order():
    packed = QuantizedTensors(8)
    values = torch.arange(PIECE + 3 * GROUP + 1, dtype=torch.float32) / PIECE
    found = packed.unpack(packed.pack(values))
    torch.testing.assert_close(found, values, rtol=0, atol=2e-6)


@pytest.mark.parametrize('bits', [2, 4, 8])
def test_codes_take_the_bits_that_they_say(bits):
    packed = QuantizedTensors(bits).pack(torch.randn(GROUP * 8))
    assert packed.codes.nbytes == GROUP * bits
    assert packed.lowest.numel() == packed.step.numel() == 8


def test_other_numbers_of_bits_are_refused():
    with pytest.raises(ValueError, match='bits is 3; accepted: 2, 4, 8'):
        QuantizedTensors(3)


def test_masks_small_tensors_and_expanded_ones_stay_as_they_are():
    packed = QuantizedTensors(8)
    assert packed.takes(torch.zeros(SMALLEST))
    assert not packed.takes(torch.zeros(SMALLEST, dtype=torch.bool))
    assert not packed.takes(torch.zeros(SMALLEST - 1))
    assert not packed.takes(torch.zeros(1).expand(SMALLEST))


def test_nothing_is_kept_of_a_graph_that_is_gone(network):
    packed = OffloadedTensors()
    with packed.of(network):
        network(torch.randn(64, 64))
    gc.collect()
    known = [w() for _, tensors in packed._known.values() for w in tensors.values()]
    assert all(found is None for found in known)


def test_random_numbers_of_the_network_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    QuantizedTensors(2).pack(torch.randn(4096, generator=torch.Generator()))
    assert torch.equal(torch.rand(3), expected)
