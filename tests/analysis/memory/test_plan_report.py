"""Budgets on the command line, and what is shown of their plans."""

import argparse
import json

import pytest

from dr2net_mm.analysis.memory.command import main
from dr2net_mm.analysis.memory.plan_report import (
    budget_label,
    describe_plan,
    memory_budget,
    storage_plan,
    trade_off,
    trade_off_table,
)
from dr2net_mm.reversible.plan import StageCost, StepCost

STAGES = [
    StageCost(10**7, 0, [StepCost(10**8, 1.0, 10**6, 10**6)] * 4),
    StageCost(10**7, 0, [StepCost(10**8, 2.0, 10**6, 10**6)] * 2),
]


@pytest.mark.parametrize(
    ('text', 'budget', 'label'),
    [
        ('0.3', 0.3, '0.3'),
        ('1', 1.0, '1'),
        ('2e9', 2 * 10**9, '2 GB'),
        ('0', 0, '0 GB'),
    ],
)
def test_a_budget_up_to_one_is_a_share_and_beyond_it_bytes(text, budget, label):
    found = memory_budget(text)
    assert found == budget and type(found) is type(budget)
    assert budget_label(found) == label


@pytest.mark.parametrize('text', ['-1', 'half', 'nan', 'inf'])
def test_what_is_no_budget_is_refused_with_what_is(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f'{text} is neither a share'):
        memory_budget(text)


def test_a_plan_shows_which_steps_of_which_stage_are_stored():
    text = describe_plan(storage_plan(STAGES, 0.65))
    assert 'stage 1  #...    1 of 4 steps stored, 0.100 GB' in text
    assert 'stage 2  ##      2 of 2 steps stored, 0.200 GB' in text
    assert 'budget 0.390 GB (0.65 of conventional' in text


def test_a_budget_that_cannot_be_kept_says_what_is_needed():
    assert 'below the 0.0' in describe_plan(storage_plan(STAGES, 10**6))
    assert 'below the' not in describe_plan(storage_plan(STAGES, 0.6))


def test_memory_against_work_goes_from_nothing_to_everything_stored():
    rows = trade_off(STAGES)
    assert rows[0]['plan'] == ['....', '..'] and rows[-1]['plan'] == ['####', '##']
    peaks = [row['predicted_bytes'] for row in rows]
    works = [row['relative_work'] for row in rows]
    assert peaks == sorted(peaks) and works == sorted(works, reverse=True)
    lines = trade_off_table(rows).splitlines()
    assert lines[2].startswith('nothing stored') and '0 / 6' in lines[2]
    assert lines[-1].startswith('all stored') and '6 / 6' in lines[-1]


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code


def test_the_command_counts_a_budget_beside_the_other_modes(tmp_path, capsys):
    file = tmp_path / 'a.json'
    small = ('--backbone', 'swin-t', '--img-size', '224', '--batch', '1')
    assert run(*small, '--budget', '0.5', '--chunk', 'none', '--json', str(file)) == 0
    shown = capsys.readouterr().out
    assert 'dr2 (budget 0.5): budget' in shown and 'nothing stored' in shown
    rows = json.loads(file.read_text())
    assert [row['mode'] for row in rows][2:] == ['dr2', 'dr2 (budget 0.5)']
    conventional, _, plain, budgeted = (row['peak_bytes'] for row in rows)
    assert plain < budgeted < conventional
    assert budgeted <= rows[3]['budget_bytes']
    assert 1 < rows[3]['relative_work'] < 4 / 3
    assert len(''.join(rows[3]['plan'])) == 24
