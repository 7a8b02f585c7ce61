"""Memory of other ways to train, counted beside ours."""

import json
from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from dr2net_mm.analysis.memory.command import backbone_memory, main
from dr2net_mm.analysis.memory.peer_memory import (
    adamw_bytes,
    count_peer,
    peer_memory,
    peer_table,
)
from dr2net_mm.analysis.peers.catalog import Peer, peers
from dr2net_mm.analysis.peers.gradient_error import PeerError
from dr2net_mm.errors import UserError
from tests.fixtures.tiny import TINY_SWIN

SMALL = dict(
    type='SwinTransformer',
    embed_dims=32,
    depths=(1, 1, 2, 1),
    num_heads=(2, 4, 8, 16),
    window_size=7,
)
SIZE = (448, 448)
PEERS = {peer.name: peer for peer in peers({}, [('0.3', 0.3)])}


@pytest.fixture(scope='module')
def rows():
    """Return all rows but those of the partitioner, which take long to trace."""
    return {
        name: count_peer(peer, SMALL, SIZE, 2)
        for name, peer in PEERS.items()
        if not name.startswith('partitioner') and name != 'quantized, 4 bits'
    }


def test_rows_that_memory_py_has_already_are_counted_alike(rows):
    for mode, name in (
        ('conventional', 'conventional'),
        ('checkpoint', 'with_cp'),
        ('dr2', 'dr2 exact'),
    ):
        expected = backbone_memory(SMALL, SIZE, 2, modes=[mode])[0]
        assert rows[name]['peak_bytes'] == expected['peak_bytes']
        assert rows[name]['multiply_adds'] == expected['multiply_adds']


def test_ours_is_below_everything_that_trains_the_backbone_and_below_a_frozen_one(rows):
    ours = rows['dr2 exact']['peak_bytes']
    others = {
        name: row['peak_bytes']
        for name, row in rows.items()
        if not name.startswith('dr2')
    }
    assert ours < min(others.values())


def test_offload_keeps_next_to_nothing_and_moves_everything(rows):
    conventional, offload = rows['conventional'], rows['offload']
    assert offload['kept_bytes'] < 0.05 * conventional['kept_bytes']
    assert offload['moved_bytes'] > 1.8 * conventional['kept_bytes']
    assert conventional['moved_bytes'] == 0


def test_fewer_bits_keep_less(rows):
    kept = [rows[f'quantized, {bits} bits']['kept_bytes'] for bits in (8, 2)]
    assert rows['conventional']['kept_bytes'] > kept[0] > kept[1]


def test_saved_products_are_not_computed_again(rows):
    work = {name: row['multiply_adds'] for name, row in rows.items()}
    saved = work['selective checkpoint'] / work['conventional']
    assert saved == pytest.approx(1, abs=0.01)
    assert work['block-wise checkpoint'] > 1.2 * work['conventional']
    kept = [rows[name]['kept_bytes'] for name in rows][:4]
    assert kept[1] <= kept[2] < kept[3] < kept[0]


def test_what_is_frozen_has_no_gradients_and_no_state(rows):
    assert rows['frozen backbone']['gradient_bytes'] == 4
    whole = rows['conventional']
    assert whole['gradient_bytes'] == 4 * whole['trained_parameters']
    assert whole['all_bytes'] >= whole['total_bytes'] + whole['optimizer_bytes']
    part = rows['LoRA, rank 8']
    assert part['gradient_bytes'] == 4 * part['trained_parameters']
    assert part['trained_parameters'] < 0.2 * whole['trained_parameters']


def test_the_partitioner_keeps_less_where_its_budget_is_less():
    tiny = dict(TINY_SWIN, window_size=7)
    kept = [
        count_peer(PEERS[f'partitioner, budget {budget}'], tiny, (112, 112), 1)
        for budget in ('1', '0.5', '0')
    ]
    first, half, none = (row['kept_bytes'] for row in kept)
    assert first > half > none
    assert kept[2]['multiply_adds'] > 1.2 * kept[0]['multiply_adds']


def allocated_bytes(variant, image):
    """Return what torch's CPU allocator hands out at most in a step."""
    if variant.needs_warm_up:
        variant(image)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        torch.autograd.backward([output.sum() for output in variant(image)])
    events = sorted(
        found.profiler.kineto_results.events(), key=lambda event: event.start_ns()
    )
    return max(accumulate(e.nbytes() for e in events if e.name() == '[memory]'))


@pytest.mark.parametrize(
    'name', ['selective checkpoint', 'quantized, 2 bits', 'partitioner, budget 0.25']
)
def test_the_count_on_meta_tensors_is_what_the_cpu_allocates(name):
    size = (56, 72)
    backbone = dict(SMALL, depths=(1, 1), num_heads=(2, 4), out_indices=(0, 1))
    backbone['strides'] = (4, 2)
    counted = count_peer(PEERS[name], backbone, size, 2)
    peak = allocated_bytes(PEERS[name].build(backbone), torch.randn(2, 3, *size))
    total = counted['total_bytes'] - counted['parameter_bytes']
    assert total == pytest.approx(peak, rel=0.03)


def test_the_state_of_adamw_is_two_values_a_parameter():
    model = torch.nn.Linear(100, 50, device='meta')
    model.bias.requires_grad_(False)
    assert adamw_bytes(model) == 2 * 4 * 5000
    assert model.weight.grad is None


def test_a_peer_that_does_not_go_with_the_network_says_why():
    def refuse(backbone):
        raise UserError('no blocks here')

    chosen = [PEERS['conventional'], Peer('adapters', 'added parts', refuse)]
    found = peer_memory(chosen, SMALL, (56, 56), 1)
    assert found[1] == dict(
        mode='adapters', trains='added parts', reason='no blocks here'
    )
    assert peer_table(found).splitlines()[-1] == 'adapters: no blocks here'


def test_an_error_that_is_not_finite_stands_in_the_row_as_text():
    class Lost:
        def measure(self, peer):
            return PeerError(float('nan'), 0.0)

    row = peer_memory([PEERS['conventional']], TINY_SWIN, (32, 32), 1, Lost())[0]
    assert row['gradient_error'] == 'nan' and row['recomputation_error'] == 0
    assert json.dumps(row, allow_nan=False)
    assert peer_table([row]).split()[-1] == 'nan'


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def test_the_command_compares_and_writes_json(tmp_path, capsys, monkeypatch):
    # Two peers stand for all of them, whose tracing takes a minute.
    few = [PEERS['conventional'], PEERS['dr2 exact']]
    monkeypatch.setattr(
        'dr2net_mm.analysis.memory.peer_command.peers', lambda *given: few
    )
    config = tmp_path / 'tiny.py'
    config.write_text(f'model = dict(backbone={TINY_SWIN})')
    file = tmp_path / 'peers.json'
    assert run(str(config), '--img-size', '32', '--peers', '--json', str(file)) == 0
    found = json.loads(file.read_text())
    assert [row['mode'] for row in found['rows']] == ['conventional', 'dr2 exact']
    assert found['rows'][1]['recomputation_error'] == 0
    shown = capsys.readouterr().out
    assert 'what is recomputed has error 0' in shown


@pytest.mark.parametrize('option', [('--amp', 'bf16'), ('--detector',)])
def test_what_does_not_go_with_peers_is_refused(option, capsys):
    assert run('--backbone', 'swin-t', '--peers', *option) == 2
    assert f'leave out {option[0]}' in capsys.readouterr().err
