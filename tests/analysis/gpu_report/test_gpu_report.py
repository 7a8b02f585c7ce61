"""The report for a GPU: all of it in miniature, and what becomes of failing steps."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dr2net_mm.analysis.gpu_report import command, process
from dr2net_mm.analysis.gpu_report.checks import read_junit
from dr2net_mm.analysis.gpu_report.steps import CUDA_TESTS, Step, make_steps
from dr2net_mm.analysis.gpu_report.tables import report_tables

TINY = ('--device', 'cpu', '--tiny')


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    return end.value.code or 0


@pytest.fixture(scope='module')
def whole_report(tmp_path_factory, request):
    """Folder of all steps in miniature, and what the command printed."""
    folder = tmp_path_factory.mktemp('report')
    # A Python of its own: its steps are forked, which a used autograd does not like.
    tool = [sys.executable, 'tools/analysis/gpu_report.py', *TINY, '--out', str(folder)]
    done = subprocess.run(
        tool, cwd=str(request.config.rootpath), stdout=subprocess.PIPE, timeout=1200
    )
    assert done.returncode == 0, done.stdout.decode()
    return folder, done.stdout.decode()


def test_every_step_passes_and_says_on_what_machine(whole_report):
    folder, output = whole_report
    names = [step.name for step in make_steps(tiny=True)]
    assert sorted(path.stem for path in folder.glob('*.json')) == sorted(names)
    for name in names:
        record = json.loads((folder / f'{name}.json').read_text())
        assert record['status'] == 'passed' and record['seconds'] > 0
        assert record['machine']['torch']
        assert {'mmdet', 'onedl-mmdetection'} & set(record['machine']['packages'])
        assert f'{name}: passed in' in output


def test_the_results_are_measurements(whole_report):
    folder, _ = whole_report

    def results(name):
        return json.loads((folder / f'{name}.json').read_text())['results']

    assert results('tests')['passed'] == 3 < results('tests-unfused')['passed']
    memory = results('memory')['rows']
    assert len(memory) == 9 and all(0.85 < row['ratio'] < 1.15 for row in memory)
    rows = {row['mode']: row for row in results('swin-t')['rows']}
    assert len(rows) == 5 and all(row['seconds']['median'] > 0 for row in rows.values())
    for row in results('determinism')['rows']:
        assert row['error'] is None
        assert row['to_stored']['different'] == 0 < row['to_stored']['gradients']
    assert results('soak')['passed'] and results('soak')['most_bytes'] > 0


def test_tables_hold_every_step(whole_report, capsys):
    folder, _ = whole_report
    assert run(*TINY, '--tables', '--out', str(folder)) == 0
    text = capsys.readouterr().out
    for step in make_steps(tiny=True):
        assert f'| {step.name} | passed |' in text
        assert f'### {step.what}' in text
    assert '| dr2 exact | fp32 |' in text and 'without fused kernels' in text


def test_finished_steps_are_not_run_again(whole_report, capsys):
    folder, _ = whole_report
    before = (folder / 'memory.json').read_bytes()
    assert run(*TINY, '--out', str(folder), 'memory') == 0
    assert 'memory: passed before' in capsys.readouterr().out
    assert (folder / 'memory.json').read_bytes() == before


def _good(settings, device):
    return dict(passed=1, failed=0, skipped=0, failures=[]), True


def _broken(settings, device):
    raise RuntimeError('no kernel image')


def _endless(settings, device):
    time.sleep(60)


def _dies(settings, device):
    os._exit(3)


@pytest.fixture
def steps(monkeypatch):
    """Lets the report consist of the given functions."""

    def install(**functions):
        made = [Step(n, f'what {n} is', 'tests', f, {}) for n, f in functions.items()]
        for module in (command, process):
            monkeypatch.setattr(module, 'make_steps', lambda tiny=False: made)

    return install


def records(folder):
    return {p.stem: json.loads(p.read_text()) for p in folder.glob('*.json')}


def test_steps_that_fail_are_recorded_and_the_others_go_on(steps, tmp_path, capsys):
    steps(raises=_broken, dies=_dies, good=_good)
    assert run(*TINY, '--out', str(tmp_path)) == 1
    found = records(tmp_path)
    assert found['raises']['error'] == 'RuntimeError: no kernel image'
    assert 'Traceback' in (tmp_path / 'raises.log').read_text()
    assert 'died with exit code 3' in found['dies']['error']
    assert found['good']['status'] == 'passed'
    assert 'failed: raises, dies' in capsys.readouterr().out
    assert '| raises | failed |' in report_tables(list(found.values()))
    steps(raises=_good, dies=_good, good=_good)
    assert run(*TINY, '--out', str(tmp_path), '--force', 'raises') == 0
    assert records(tmp_path)['raises']['status'] == 'passed'


def test_a_step_beyond_its_time_is_ended(steps, tmp_path):
    steps(endless=_endless)
    assert run(*TINY, '--out', str(tmp_path), '--minutes', '0.02') == 1
    assert 'not done after' in records(tmp_path)['endless']['error']


def test_sigterm_ends_the_step_and_the_next_call_runs_it(steps, tmp_path, capsys):
    steps(first=_good, endless=_endless, last=_good)

    def send(*arguments):
        found = original(*arguments[:-1], lambda: kill(arguments))
        return found

    def kill(arguments):
        if arguments[0] == 'endless':
            os.kill(os.getpid(), signal.SIGTERM)
        return arguments[-1]()

    original = process.run_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, 'run_step', send)
        assert run(*TINY, '--out', str(tmp_path)) == 143
    assert 'stopped in step endless' in capsys.readouterr().err
    found = records(tmp_path)
    assert found['endless']['status'] == 'stopped' and 'last' not in found
    steps(first=_good, endless=_good, last=_good)
    assert run(*TINY, '--out', str(tmp_path)) == 0
    output = capsys.readouterr().out
    assert 'first: passed before' in output and 'endless: passed in' in output


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((*TINY, 'swin-x'), "step 'swin-x' is unknown; accepted: tests"),
        (('--device', 'cpu'), '--device cpu: full size needs a GPU; add --tiny'),
        ((*TINY, '--minutes', '0'), '--minutes 0: give more than 0'),
        ((*TINY, '--tables'), 'holds no results; run the steps'),
    ],
)
def test_bad_input_is_answered_by_one_line(arguments, message, tmp_path, capsys):
    assert run(*arguments, '--out', str(tmp_path / 'new')) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_results_of_another_device_are_not_mixed(steps, tmp_path, capsys):
    steps(good=_good)
    record = dict(step='good', status='passed', device='cuda', tiny=False)
    (tmp_path / 'good.json').write_text(json.dumps(record))
    assert run(*TINY, '--out', str(tmp_path)) == 2
    assert 'holds results of cuda; give another folder' in capsys.readouterr().err


def test_full_size_names_the_benchmarks_of_the_documentation(capsys):
    assert run('--list') == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    for name in ('tests-unfused', 'swin-t', 'swin-l', 'video-swin-t', 'videomae-s',
                 'dino-swin-t', 'memory', 'determinism', 'soak'):  # fmt: skip
        assert name in listed
    precisions = [
        step.settings['precisions']
        for step in make_steps()
        if step.kind == 'benchmark' and step.name in ('swin-t', 'dino-swin-t')
    ]
    assert precisions == [['fp32', 'bf16']] * 2


def test_help_names_the_steps_that_have_no_miniature(capsys):
    assert run('--help') == 0
    said = capsys.readouterr().out
    said = said[said.index('--tiny leaves out') : said.index(': they run')]
    full, tiny = ({step.name for step in make_steps(t)} for t in (False, True))
    assert set(said.replace(',', ' ').split()) & full == full - tiny
    assert tiny <= full


def test_every_test_for_a_gpu_is_in_a_folder_that_is_run(request):
    root = request.config.rootpath
    marked = [
        path.relative_to(root).as_posix()
        for path in (root / 'tests').rglob('test_*.py')
        if 'mark.cuda' in path.read_text()
    ]
    assert len(marked) > 5
    for path in marked:
        assert any(path.startswith(f'{folder}/') for folder in CUDA_TESTS), path


def test_failures_of_a_test_run_are_named(tmp_path):
    report = tmp_path / 'tests.xml'
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="b"/>'
        '<testcase classname="a" name="c"><failure message="1 != 2"/></testcase>'
        '<testcase classname="a" name="d"><skipped/></testcase>'
        '</testsuite></testsuites>'
    )
    found = read_junit(report)
    assert (found['passed'], found['failed'], found['skipped']) == (1, 1, 1)
    assert found['failures'] == [dict(name='a::c', message='1 != 2')]
