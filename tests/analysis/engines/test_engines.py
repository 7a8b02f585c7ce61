"""Reversible engines: what is measured of them, on a tiny ViT."""

import json
import sys

import pytest
import torch
from torch import nn

from dr2net_mm.analysis.engines import command
from dr2net_mm.analysis.engines.checks import Checks, answer
from dr2net_mm.analysis.engines.distributed import ddp_answers
from dr2net_mm.analysis.engines.network import Network
from dr2net_mm.analysis.engines.stacks import (
    INSTALL,
    Engine,
    StoredStack,
    engines,
    imported,
)
from dr2net_mm.errors import UserError

pytest.importorskip('timm.models')

NETWORK = Network('vit_tiny_patch16_224', 64, 2, 2)
CHECKS = Checks(NETWORK)
ENGINES = {engine.name: engine for engine in engines()}


class Recomputed(nn.Module):
    """A stack that is recomputed with other random numbers than before."""

    def __init__(self, branches):
        super().__init__()
        self.stack = StoredStack(branches)

    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(
            self.stack, x, use_reentrant=False, preserve_rng_state=False
        )


CARELESS = Engine('careless', Recomputed, StoredStack, StoredStack)


def test_ours_at_alpha_0_and_beta_1_is_the_revnet_of_the_others():
    images = NETWORK.images()
    expected = NETWORK.build(StoredStack)(images)
    for name in ('dr2 float', 'dr2 exact'):
        found = NETWORK.build(ENGINES[name].factory)(images)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_exact_arithmetic_recomputes_without_error_in_every_situation():
    engine = ENGINES['dr2 exact, (1, 0.1)']
    for question in (
        CHECKS.recomputation_error,
        CHECKS.autocast_error,
        CHECKS.two_forwards_error,
        CHECKS.two_models_error,
    ):
        assert question(engine) == 0
    assert CHECKS.dropout_replayed(engine) == 1
    assert 0 < CHECKS.gradient_error(engine) < 1e-2
    assert CHECKS.gradient_error(ENGINES['dr2 float, (1, 0.1)']) > 1e-5


def test_dropout_that_is_drawn_anew_is_noticed():
    assert CHECKS.dropout_replayed(CARELESS) == 0
    assert CHECKS.dropout_replayed(ENGINES['stored']) == 1


def test_the_peak_of_a_reversible_stack_is_below_that_of_a_stored_one():
    checks = Checks(NETWORK._replace(depth=6, batch=16))
    stored, ours = (checks.peak_bytes(ENGINES[n]) for n in ('stored', 'dr2 exact'))
    assert ours < 0.7 * stored


def test_gradients_are_averaged_over_processes():
    found = ddp_answers(ENGINES['dr2 exact'], NETWORK._replace(depth=1, batch=1))
    assert found == dict(ddp=dict(value=0.0), ddp_find_unused=dict(value=0.0))


def test_an_engine_that_fails_answers_with_what_it_raised():
    def question(engine):
        raise RuntimeError(f'{engine.name} has failed. And more of it\nand more')

    expected = dict(error='RuntimeError: careless has failed')
    assert answer(question, CARELESS) == expected
    assert answer(lambda engine: float('nan'), CARELESS) == dict(value='nan')


@pytest.mark.parametrize('package', list(INSTALL))
def test_a_missing_package_is_named_with_its_remedy(package, monkeypatch):
    for name in [package, *(n for n in sys.modules if n.startswith(f'{package}.'))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f'{package} cannot be imported.*pip install'):
        imported(package)


@pytest.mark.parametrize('name', [e.name for e in ENGINES.values() if e.package])
def test_engines_of_others_have_the_gradients_of_stored_activations(name):
    engine = ENGINES[name]
    try:
        imported(engine.package)
    except UserError as error:
        pytest.skip(str(error))
    assert CHECKS.gradient_error(engine) < 1e-4


def test_the_command_leaves_out_what_is_missing_and_writes_json(
    tmp_path, capsys, monkeypatch
):
    chosen = [ENGINES['stored'], ENGINES['memcnn'], ENGINES['dr2 exact']]
    monkeypatch.setattr(command, 'engines', lambda: chosen)
    monkeypatch.setattr(command, 'ddp_answers', lambda *given: {})
    monkeypatch.setitem(sys.modules, 'memcnn', None)
    file = tmp_path / 'engines.json'
    given = ['--vit', NETWORK.name, '--img-size', '32', '--depth', '1', '--batch', '1']
    with pytest.raises(SystemExit) as ended:
        command.main([*given, '--rounds', '1', '--json', str(file)])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert 'memcnn: memcnn cannot be imported' in shown
    rows = {row['name']: row for row in json.loads(file.read_text())['rows']}
    assert list(rows) == [engine.name for engine in chosen]
    assert 'reason' in rows['memcnn']
    assert rows['dr2 exact']['recomputation_error'] == dict(value=0.0)
    assert rows['stored']['time_ratio'] == dict(value=1.0)
