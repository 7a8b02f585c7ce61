import json
from pathlib import Path

import pytest

from dr2net_mm.errors import DataFileError
from dr2net_mm.experiments.answers import answers
from dr2net_mm.experiments.headlines import headlines
from dr2net_mm.experiments.record import curve, gradient_errors, read_record
from dr2net_mm.experiments.report_command import main
from dr2net_mm.experiments.summary import Summary
from dr2net_mm.experiments.tables import task_tables
from dr2net_mm.experiments.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]


def report(records, out):
    with pytest.raises(SystemExit) as ended:
        main(['--records', str(records), '--out', str(out)])
    return ended.value.code


@pytest.fixture()
def summary(record):
    def make(**values):
        records = [
            record(row, seed, value)
            for row, seeds in values.items()
            for seed, value in enumerate(seeds)
        ]
        return Summary(TASKS['classification'], records)

    return make


def test_the_committed_page_is_what_the_committed_records_give(tmp_path):
    out = tmp_path / 'evidence.md'
    assert report(ROOT / 'evidence', out) == 0
    assert out.read_text() == (ROOT / 'docs' / 'evidence.md').read_text()
    drawn = {file.name for file in (tmp_path / 'evidence').iterdir()}
    assert drawn == {file.name for file in (ROOT / 'docs' / 'evidence').iterdir()}


def test_answers_stand_in_the_first_ten_lines_of_the_page():
    lines = (ROOT / 'docs' / 'evidence.md').read_text().splitlines()[:10]
    assert [line[:3] for line in lines if line[:1].isdigit()] == [
        '1. ',
        '2. ',
        '3. ',
        '4. ',
    ]


def test_headlines_speak_of_every_task_that_was_run(summary):
    one = summary(conventional=(0.80, 0.82, 0.84), dynamic=(0.70, 0.72, 0.74))
    other = summary(hard=(0.5,))
    other.task = TASKS['detection']
    first, _, _, fourth = headlines([one, other])
    assert '*Image classification:* dynamic to (0.3, 0.7), exact -0.100 ± 0.000' in (
        first
    )
    assert '(worse). *Object detection:* not run yet.' in first
    assert fourth.endswith('not run yet. *Object detection:* not run yet.')


def test_verdicts_follow_from_the_seeds(summary):
    found = summary(
        conventional=(0.80, 0.82, 0.84),
        dynamic=(0.70, 0.72, 0.74),
        vanilla=(0.79, 0.83, 0.84),
        hard=(0.6,),
    )
    first, second, third, fourth = answers(found)
    assert 'dynamic to (0.3, 0.7), exact against conventional -0.100 ± 0.000' in first
    assert '(3 seeds: worse)' in first
    assert '(3 seeds: no difference beyond the noise)' in second
    assert 'fixed (0.9, 0.1) against vanilla (1, 0.1), exact: not run yet' in third
    assert '(1 seed: too few seeds to tell)' in fourth


def test_a_table_shows_what_is_missing_and_what_diverged(summary, record):
    found = summary(conventional=(0.80, 0.82), dynamic=(0.7,))
    failed = record('dynamic', 1, 0, metrics=None, failure='loss is NaN')
    found = Summary(
        found.task,
        [r for one in found.rows.values() for r in one.records.values()] + [failed],
    )
    lines = task_tables(found).splitlines()
    row = next(line for line in lines if line.startswith('| dynamic to (0.3, 0.7), ex'))
    assert row == (
        '| dynamic to (0.3, 0.7), exact | 2 (more to come) | 0.700 (1 diverged) | '
        '-0.100 | 0 | 0 | 5.0 | 1.50 |'
    )
    assert any(line.startswith('| η = 20 | 0 | not run yet |') for line in lines)


def test_no_records_are_said_plainly(tmp_path):
    (tmp_path / 'records').mkdir()
    assert report(tmp_path / 'records', tmp_path / 'page.md') == 0
    assert 'Nothing has been run yet.' in (tmp_path / 'page.md').read_text()


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert report(tmp_path / 'none', tmp_path / 'page.md') == 2
    assert 'there is no such folder' in capsys.readouterr().err


@pytest.mark.parametrize('damage', ['{', '{}'])
def test_a_damaged_record_is_named(tmp_path, damage):
    path = tmp_path / 'dynamic-seed0.json'
    path.write_text(damage)
    with pytest.raises(DataFileError, match=r'dynamic-seed0\.json .*run again'):
        read_record(path)


def test_a_curve_is_the_mean_of_equal_parts_and_loses_no_iteration():
    log = [dict(step=i + 1, loss=float(i)) for i in range(10)]
    found = curve(log, points=4)
    assert found == dict(iteration=[2, 5, 8, 10], loss=[0.5, 3.0, 6.0, 8.5])
    assert curve([], points=4) == dict(iteration=[], loss=[])


def test_errors_without_a_number_in_json_become_text():
    lines = [{'dr2/gradient_error': 0.5}, {'dr2/gradient_error': float('inf')}]
    assert gradient_errors(lines) == dict(first=0.5, last='inf')
    json.dumps(gradient_errors(lines), allow_nan=False)
    assert gradient_errors([dict(loss=1.0)]) is None
