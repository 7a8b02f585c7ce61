"""The benchmark: what it runs, in which order, and what it reports. Never how fast."""

import io
import json

import pytest
import torch

from dr2net_mm.analysis.benchmark.cases import (
    MODES,
    Bench,
    Case,
    Subject,
    interleave,
    make_cases,
)
from dr2net_mm.analysis.benchmark.command import benchmark, main
from dr2net_mm.analysis.benchmark.plot import draw_scatter, draw_sweep
from dr2net_mm.analysis.benchmark.report import result_table, summarize
from dr2net_mm.analysis.memory.command import backbone_memory
from dr2net_mm.cli.progress import Progress
from tests.fixtures.tiny import TINY_SWIN

TINY = dict(TINY_SWIN, window_size=4)
SUBJECT = Subject(TINY, None, (32, 40), 2)
SWIN = ('--backbone', 'swin-t', '--img-size', '32', '--rounds', '1', '--warm-up', '1')
DINO = 'configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py'


def case(name='conventional', precision='fp32'):
    return Case(name, 'conventional', {}, False, precision)


def test_steps_take_turns_and_warm_up_is_not_counted():
    order, after = [], []

    def step(name):
        order.append(name)
        return len(order)

    results = interleave(
        [lambda name=name: step(name) for name in 'abc'], 2, 1, after.append
    )
    assert ''.join(order) == 'abcabcabc'
    assert results == [[4, 7], [5, 8], [6, 9]]
    assert after == [0, 1, 2] * 3


def test_a_step_that_runs_out_of_memory_is_left_out_and_the_others_go_on():
    runs = []

    def hungry():
        runs.append('hungry')
        raise torch.cuda.OutOfMemoryError('too much')

    results = interleave([hungry, lambda: 1], rounds=2, warm_up=1)
    assert results == [[], [1, 1]]
    assert runs == ['hungry']


def test_the_cases_are_every_mode_in_every_precision():
    cases = make_cases(list(MODES), ['fp32', 'bf16'], dict(chunk=64))
    assert [(c.name, c.precision) for c in cases] == [
        (mode, precision) for precision in ('fp32', 'bf16') for mode in MODES
    ]
    options = {c.name: c.dual_residual for c in cases}
    assert options['conventional'] == {}
    assert options['dr2 float'] == dict(chunk=64, arithmetic='float')
    assert options['dr2 exact'] == dict(chunk=64, arithmetic='exact')


def test_budgets_and_a_checkpointed_encoder_are_cases_of_their_own():
    cases = make_cases(list(MODES), ['fp32'], {}, [0.3, 2 * 10**9], ['encoder'])
    names = [c.name for c in cases[len(MODES) :]]
    assert names == [
        'dr2 exact 0.3',
        'dr2 exact 2 GB',
        'checkpoint + encoder',
        'dr2 exact + encoder',
    ]
    budgeted = cases[len(MODES)].dual_residual
    assert budgeted == dict(arithmetic='exact', memory_budget=0.3)
    assert [c.rest for c in cases[-2:]] == ['encoder', 'encoder']


def test_ratios_are_medians_of_the_ratios_within_a_round():
    cases = [case(), case('checkpoint'), case('dr2 exact'), case('dr2 exact', 'bf16')]
    # The machine gets three times slower; within a round the ratio is 2.
    slowing = [1.0, 3.0, 3.0]
    seconds = [slowing, [4.0] * 3, [2.0, 6.0, 6.0], [1.0] * 3]
    rows = summarize(cases, seconds, [100, 50, 25, None], batch=4)
    exact = rows[2]
    assert exact['time_to_conventional'] == 2
    assert exact['time_to_checkpoint'] == 1.5
    assert exact['memory_to_conventional'] == 0.25
    assert exact['memory_to_checkpoint'] == 0.5
    assert exact['images_per_second'] == pytest.approx(4 / 6)
    spread = exact['seconds']
    assert (spread['min'], spread['median'], spread['max']) == (2, 6, 6)
    assert spread['lower_quartile'] == 4 and spread['steps'] == 3
    # There is nothing to compare with in its precision.
    assert rows[3]['time_to_conventional'] is rows[3]['memory_to_checkpoint'] is None


def test_a_case_without_results_is_a_row_that_says_so():
    rows = summarize([case(), case('dr2 exact')], [[], [1.0]], [None, 5], batch=1)
    assert rows[0]['images_per_second'] is rows[0]['seconds'] is None
    assert 'out of memory' in result_table(rows)


def test_modes_give_steps_with_gradients_and_the_memory_that_memory_py_counts():
    cases = make_cases(list(MODES), ['fp32'], dict(alpha=0.3, beta=0.7))
    rows = benchmark(SUBJECT, cases, 'cpu', rounds=2, warm_up=1)
    assert [row['mode'] for row in rows] == list(MODES)
    assert all(row['seconds']['steps'] == 2 for row in rows)
    counted = backbone_memory(TINY, SUBJECT.image_size, SUBJECT.batch)
    expected = {
        row['mode']: row['total_bytes'] - row['parameter_bytes'] for row in counted
    }
    found = {row['mode']: row['memory_bytes'] for row in rows}
    assert found['conventional'] == expected['conventional']
    assert found['checkpoint'] == expected['checkpoint']
    assert found['dr2 exact'] == expected['dr2']


def test_a_model_is_shared_by_precisions_and_keeps_no_gradients():
    bench = Bench(SUBJECT, 'cpu')
    exact, half = make_cases(['dr2 exact'], ['fp32', 'bf16'], {})
    assert bench.step(exact).keys() == {'seconds'}
    bench.step(half)
    assert bench.model(exact) is bench.model(half)
    assert all(p.grad is None for p in bench.model(exact).parameters())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_how_much_is_left_on_a_terminal_only():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(2, stream)
        progress.step('first')
        progress.step('second')
    assert '[1/2] first, ETA 0:' in terminal.getvalue()
    assert terminal.getvalue().endswith('\n')
    assert file.getvalue() == ''


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code


def test_the_command_writes_table_json_and_picture(tmp_path, capsys):
    file, picture = tmp_path / 'a.json', tmp_path / 'a.png'
    modes = ('--modes', 'conventional', 'dr2 exact')
    outputs = ('--json', str(file), '--plot', str(picture))
    assert run(*SWIN, *modes, '--precision', 'fp32', *outputs) == 0
    shown = capsys.readouterr().out
    assert 'dr2 exact' in shown and 'time/conv.' in shown
    result = json.loads(file.read_text())
    assert result['name'] == 'swin-t' and result['sweep'] is None
    assert {'processor', 'threads', 'torch', 'device'} <= result['hardware'].keys()
    assert [row['mode'] for row in result['rows']] == ['conventional', 'dr2 exact']
    for row in result['rows']:
        assert row['image_size'] == [32, 32] and row['precision'] == 'fp32'
        assert row['memory_bytes'] > 0 and row['seconds']['steps'] == 1
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ('sweep', 'sizes'), [('img-size', [[64, 64], [32, 32]]), ('depth', [[32, 32]] * 2)]
)
def test_a_sweep_has_a_row_for_every_value_in_order(sweep, sizes, tmp_path):
    file, picture = tmp_path / 'a.json', tmp_path / 'a.png'
    values = ('64', '32') if sweep == 'img-size' else ('2', '1')
    outputs = ('--json', str(file), '--plot', str(picture))
    only = ('--modes', 'dr2 exact', '--precision', 'fp32')
    assert run(*SWIN, *only, '--sweep', sweep, *values, *outputs) == 0
    result = json.loads(file.read_text())
    assert result['sweep'] == sweep
    assert [row['value'] for row in result['rows']] == sorted(map(int, values))
    assert [row['image_size'] for row in result['rows']] == sizes[::-1]
    small, large = (row['memory_bytes'] for row in result['rows'])
    assert small < large
    assert picture.stat().st_size > 10_000


def test_a_detector_is_trained_with_its_own_loss(tmp_path, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    file = tmp_path / 'a.json'
    steps = ('--rounds', '1', '--warm-up', '1', '--img-size', '192', '--no-memory')
    only = ('--modes', 'dr2 exact', '--precision', 'fp32')
    assert run('--detector', DINO, *steps, *only, '--json', str(file)) == 0
    rows = json.loads(file.read_text())['rows']
    names = ['dr2 exact', 'dr2 exact + encoder', 'dr2 exact + pieces']
    assert [row['mode'] for row in rows] == names
    assert all(row['memory_bytes'] is None for row in rows)


def test_pictures_leave_out_what_was_not_measured(tmp_path):
    cases = [case(), case('dr2 exact')]
    rows = summarize(cases, [[], [1.0, 2.0]], [None, 10**9], batch=1)
    draw_scatter(rows, tmp_path / 'scatter.png')
    for row in rows:
        row['value'] = 1
    draw_sweep(rows, 'depth', tmp_path / 'sweep.png')
    assert {path.name for path in tmp_path.iterdir()} == {'scatter.png', 'sweep.png'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--backbone', 'swin-t', '--sweep', 'depth', '2'], 'at least two values'),
        (['--backbone', 'swin-t', '--sweep', 'width', '2', '3'], 'one of img-size'),
        (['--backbone', 'swin-t', '--sweep', 'depth', '2', 'x'], 'x is not a whole'),
        (['--backbone', 'swin-t', '--modes', 'fast'], "invalid choice: 'fast'"),
        (['--backbone', 'swin-t', '--budget', '-1'], '-1 is neither a share'),
        (['--backbone', 'swin-t', '--plot', 'no/such.png'], 'there is no folder'),
        (['--backbone', 'swin-t', '--detector'], '--detector needs CONFIG'),
        (
            [
                '--backbone',
                'swin-t',
                '--device',
                'cpu',
                '--no-memory',
                '--plot',
                'a.png',
            ],
            'leave out --no-memory',
        ),
    ],
)
def test_bad_input_is_answered_by_one_line(arguments, message, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


@pytest.mark.cuda
def test_on_cuda_memory_is_what_was_allocated_and_nothing_synchronizes_in_between():
    bench = Bench(SUBJECT, 'cuda')
    (exact,) = make_cases(['dr2 exact'], ['fp32'], {})
    found = bench.step(exact)
    assert found['memory_bytes'] > 0 and found['seconds'] > 0
