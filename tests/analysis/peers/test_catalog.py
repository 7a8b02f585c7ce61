"""Every way to train that is compared: its outputs, gradients and what it trains."""

import pytest
import torch

from dr2net_mm.analysis.peers.catalog import NOTHING, PART, WHOLE, peers
from dr2net_mm.analysis.peers.gradient_error import PeerErrors
from dr2net_mm.backbones.base.outputs import output_list
from tests.fixtures.tiny import TINY_SWIN

BACKBONE = dict(TINY_SWIN, depths=(2, 2), window_size=4, drop_path_rate=0.0)
PEERS = {peer.name: peer for peer in peers({}, [('0.5', 0.5)])}
SAME_FORWARD = [n for n in PEERS if not n.startswith(('dr2', 'partitioner'))]
#: Of those of the partitioner, which are slow to trace, three.
EXACT = [
    'with_cp',
    'block-wise checkpoint',
    'selective checkpoint',
    'partitioner, budget 1',
    'partitioner, budget 0.5',
    'partitioner, budget 0',
    'offload',
]


def outputs(name, image):
    torch.manual_seed(0)
    return output_list(PEERS[name].build(BACKBONE)(image))


@pytest.fixture(scope='module')
def image():
    return torch.randn(2, 3, 40, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def errors():
    return PeerErrors(BACKBONE, (40, 48), batch=2)


@pytest.mark.parametrize(
    'name', [n for n in PEERS if not n.startswith(('dr2', 'partitioner'))]
)
def test_the_forward_pass_is_that_of_the_conventional_network(name, image):
    for found, expected in zip(outputs(name, image), outputs('conventional', image)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', EXACT)
def test_gradients_are_those_of_stored_activations(name, errors):
    assert errors.measure(PEERS[name]).gradient_error < 1e-6


def test_quantized_activations_have_an_error_that_grows_as_bits_go(errors):
    found = [
        errors.measure(PEERS[f'quantized, {bits} bits']).gradient_error
        for bits in (8, 4, 2)
    ]
    assert 0 < found[0] < 0.03
    assert found[0] < found[1] < found[2]


def test_ours_recomputes_exactly_and_in_float_does_not(errors):
    for name in ('dr2 exact', 'dr2 exact, budget 0.5'):
        error = errors.measure(PEERS[name])
        assert error.recomputation_error == 0
        assert 0 < error.gradient_error < 1e-3
    assert errors.measure(PEERS['dr2 float']).recomputation_error > 0


def test_drop_path_is_the_same_in_every_recomputation():
    errors = PeerErrors(dict(BACKBONE, drop_path_rate=0.5), (40, 48), batch=4)
    for name in ('with_cp', 'selective checkpoint', 'offload'):
        assert errors.measure(PEERS[name]).gradient_error < 1e-6
    assert errors.measure(PEERS['dr2 exact']).recomputation_error == 0


def test_each_peer_trains_what_it_says():
    def trained(peer):
        parameters = peer.build(BACKBONE).model.named_parameters()
        return {name for name, p in parameters if p.requires_grad}

    whole = trained(PEERS['conventional'])
    for peer in PEERS.values():
        found = trained(peer)
        assert (found == whole) == (peer.trains == WHOLE), peer.name
        assert peer.trains == WHOLE or not found & whole, peer.name
        assert (found == {'head'}) == (peer.trains == NOTHING), peer.name
    assert {peer.trains for peer in PEERS.values()} == {WHOLE, PART, NOTHING}
