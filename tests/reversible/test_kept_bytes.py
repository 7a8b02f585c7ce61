"""Bytes that a reversible stage keeps between its forward and backward pass."""

import gc

import pytest
import torch

from dr2net_mm.reversible import DualResidualOptions, DualResidualStage, FunctionBranch
from dr2net_mm.reversible.tape import Tape

TOKENS, CHANNELS = 600, 8
STREAM = 4 * TOKENS * CHANNELS


@pytest.fixture(autouse=True)
def only_new_objects():
    """Let the collector pass by everything that other tests and imports have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def tensors_alive() -> int:
    """Bytes of all tensors that exist since the test began, each storage once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor):
            storage = thing.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())


def kept(branches, beta, backprop='reversible') -> int:
    stage = DualResidualStage('stage', DualResidualOptions(backprop=backprop))
    x = torch.randn(1, TOKENS, CHANNELS)
    before = tensors_alive()
    outputs = stage(x, [FunctionBranch(b) for b in branches], 1 - beta, beta)
    after = tensors_alive()
    del outputs
    return after - before


@pytest.mark.parametrize(
    'beta, bits', [(1, 0), (0.5, 1), (0.3, 2), (0.1, 4), (0.01, 8)]
)
def test_nothing_but_remainders_grows_with_depth(make_mlps, beta, bits):
    shallow, deep = kept(make_mlps(2), beta), kept(make_mlps(22), beta)
    remainders = 20 * TOKENS * CHANNELS * bits // 8
    assert deep - shallow == pytest.approx(remainders, abs=20 * 64)


def test_two_streams_and_the_output_are_all_that_is_kept(make_mlps):
    assert kept(make_mlps(8), 1) == pytest.approx(3 * STREAM, abs=2048)


def test_stored_activations_grow_with_depth(make_mlps):
    growth = kept(make_mlps(6), 1, 'stored') - kept(make_mlps(2), 1, 'stored')
    assert growth > 4 * 5 * STREAM


def test_generator_states_are_kept_only_where_randomness_was_drawn(
    make_mlps, monkeypatch
):
    tapes = []
    original = Tape.__init__

    def remember(self, *args):
        original(self, *args)
        tapes.append(self)

    monkeypatch.setattr(Tape, '__init__', remember)
    state = torch.get_rng_state().nbytes
    for dropout, expected in ((0.0, 0), (0.1, 4 * state)):
        branches = make_mlps(4, dropout=dropout)
        stage = DualResidualStage('stage', DualResidualOptions())
        x = torch.randn(1, TOKENS, CHANNELS)
        stage(x, [FunctionBranch(b) for b in branches], 1, 1)
        assert tapes[-1].nbytes() == 2 * STREAM + expected


def test_without_gradients_nothing_is_kept(make_mlps):
    with torch.no_grad():
        assert kept(make_mlps(4), 0.1) <= STREAM + 64
