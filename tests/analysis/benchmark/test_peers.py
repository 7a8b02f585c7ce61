"""The benchmark of other ways to train: what it runs and reports. Never how fast."""

import json

import pytest

from dr2net_mm.analysis.benchmark.command import main
from dr2net_mm.analysis.benchmark.peers import benchmark_peers, peer_time_table
from dr2net_mm.analysis.peers.catalog import Peer, peers
from dr2net_mm.errors import UserError
from tests.fixtures.tiny import TINY_SWIN

PEERS = {peer.name: peer for peer in peers({})}
CHOSEN = [PEERS[n] for n in ('conventional', 'with_cp', 'offload', 'dr2 exact')]


def refuse(backbone):
    raise UserError('no blocks here')


def test_every_peer_is_timed_in_turn_and_counted():
    order = []
    chosen = [*CHOSEN, Peer('adapters', 'added parts', refuse)]
    rows = benchmark_peers(
        chosen, TINY_SWIN, (32, 40), 2, 'cpu', 2, 1, after=order.append
    )
    names = [peer.name for peer in CHOSEN]
    assert order == names * 3
    assert [row['mode'] for row in rows] == [*names, 'adapters']
    assert rows[0]['time_to_conventional'] == rows[1]['time_to_checkpoint'] == 1
    assert rows[2]['moved_bytes'] > 0
    assert all(row['seconds']['steps'] == 2 for row in rows[:4])
    assert rows[3]['peak_bytes'] < rows[0]['peak_bytes']
    shown = peer_time_table(rows).splitlines()
    assert len(shown) == 2 + 4 + 1
    assert shown[-1] == 'adapters: no blocks here'


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'dr2net_mm.analysis.memory.peer_command.peers', lambda *given: CHOSEN[:1]
    )
    config = tmp_path / 'tiny.py'
    config.write_text(f'model = dict(backbone={TINY_SWIN})')
    file = tmp_path / 'peers.json'
    given = (str(config), '--img-size', '32', '--device', 'cpu', '--rounds', '1')
    assert run(*given, '--peers', '--no-memory', '--json', str(file)) == 0
    found = json.loads(file.read_text())
    assert found['image_size'] == [32, 32] and found['rounds'] == 1
    assert found['hardware']['device'] == 'cpu'
    assert 'peak_bytes' not in found['rows'][0]


@pytest.mark.parametrize(
    'option', [('--detector',), ('--plot', 'a.png'), ('--precision', 'bf16')]
)
def test_what_does_not_go_with_peers_is_refused(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'tiny.py'
    config.write_text(f"model = dict(type='DINO', backbone={TINY_SWIN})")
    given = ('--img-size', '32', '--device', 'cpu', '--peers')
    assert run(str(config), *given, *option) == 2
    assert f'leave out {option[0]}' in capsys.readouterr().err
