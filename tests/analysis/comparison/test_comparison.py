"""The page that compares ours with everything else: made from records alone."""

import copy
import json
from pathlib import Path

import pytest

from dr2net_mm.analysis.comparison.answers import answers, losses
from dr2net_mm.analysis.comparison.command import main
from dr2net_mm.analysis.comparison.records import read_records, row_of

ROOT = Path(__file__).resolve().parents[3]
RECORDS = ROOT / 'evidence' / 'comparison'
TOOL = ROOT / 'tools' / 'analysis' / 'comparison.py'


def make(records, out):
    with pytest.raises(SystemExit) as ended:
        main(['--records', str(records), '--out', str(out)])
    return ended.value.code


@pytest.fixture(scope='module')
def records():
    return read_records(RECORDS)


def test_the_committed_page_is_what_the_committed_records_give(tmp_path):
    out = tmp_path / 'comparison.md'
    assert make(RECORDS, out) == 0
    assert out.read_text() == (ROOT / 'docs' / 'comparison.md').read_text()
    drawn, kept = (
        {file.name for file in place.glob('comparison/*')}
        for place in (tmp_path, ROOT / 'docs')
    )
    assert drawn == kept


def test_ours_is_below_all_that_train_the_backbone_and_below_a_frozen_one(records):
    for record, answer in zip(records.memory, answers(records)):
        ours = row_of(record, 'dr2 exact')
        for row in record['rows']:
            if row['trains'] != 'added parts' and not row['mode'].startswith('dr2'):
                assert ours['peak_bytes'] < row['peak_bytes']
        assert 'below each of' in answer and 'below the one' in answer


def test_a_row_that_is_better_than_ours_is_shown(records):
    changed = copy.deepcopy(records)
    row = row_of(changed.memory[0], 'offload')
    row['peak_bytes'] = 1000
    assert 'above offload (0.000)' in answers(changed)[0]
    assert any('smaller peak' in line and 'offload' in line for line in losses(changed))
    assert answers(changed)[0] != answers(records)[0]


def test_an_engine_that_fails_is_named(records):
    changed = copy.deepcopy(records)
    row = next(r for r in changed.engines['rows'] if r['name'] == 'dr2 exact')
    assert 'dr2 exact: right everywhere' in answers(changed)[-1]
    row['ddp'] = dict(error='RuntimeError: no')
    assert 'dr2 exact: wrong or failing under DDP' in answers(changed)[-1]


def test_a_page_without_times_and_engines_can_be_made(tmp_path):
    folder = tmp_path / 'records'
    folder.mkdir()
    name = 'memory_swin-t.json'
    (folder / name).write_text((RECORDS / name).read_text())
    assert make(folder, tmp_path / 'page.md') == 0
    text = (tmp_path / 'page.md').read_text()
    assert '## Time' not in text and '## Engines' not in text
    assert not (tmp_path / 'page').exists()


@pytest.mark.parametrize('content', ['', '[]', '{}', json.dumps(dict(rows=1))])
def test_a_file_that_no_tool_wrote_is_one_line(content, tmp_path, capsys):
    (tmp_path / 'memory_a.json').write_text(content)
    assert make(tmp_path, tmp_path / 'page.md') == 2
    error = capsys.readouterr().err
    assert 'memory_a.json is no record' in error and error.count('\n') == 1


def test_wrong_places_are_one_line(tmp_path, capsys):
    assert make(tmp_path / 'absent', tmp_path / 'page.md') == 2
    assert 'there is no such folder' in capsys.readouterr().err
    assert make(tmp_path, tmp_path / 'page.md') == 2
    assert 'holds no memory_*.json' in capsys.readouterr().err
    assert make(RECORDS, tmp_path / 'page.txt') == 2
    assert 'give a .md file' in capsys.readouterr().err


def test_help_explains_with_an_example(help_of):
    shown = help_of(TOOL)
    assert 'memory.py --backbone swin-t --peers' in shown
    assert 'evidence/comparison' in shown
