"""Gradient error of the reversible backward: measure, grid, table, picture, command."""

import json
import math

import pytest
import torch

from dr2net_mm.analysis.gradients.command import (
    gradient_error_grid,
    grid_cells,
    main,
    strict_json,
)
from dr2net_mm.analysis.gradients.probe import GradientErrorProbe
from dr2net_mm.analysis.gradients.report import error_report, plot_errors
from dr2net_mm.analysis.subjects.backbones import named_backbone
from dr2net_mm.reversible.gradient_error import compare_gradients

TINY = named_backbone('swin-t', depths=(2, 2, 6, 2), width=24)
SIZE = (64, 64)
TINY_ARGUMENTS = '--backbone swin-t --depths 1 1 1 1 --width 24 --img-size 64'.split()


def test_the_three_errors_are_taken_over_all_entries_together():
    references = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]]), None]
    gradients = [torch.tensor([3.0, 1.0]), torch.tensor([[2.0]]), None]
    error = compare_gradients(gradients, references)
    assert error.relative_error == pytest.approx(math.sqrt(5) / 5)
    assert error.mean_error == pytest.approx(1.0)
    assert error.max_error == pytest.approx(2.0)


def test_a_missing_gradient_counts_as_zeros():
    error = compare_gradients([None], [torch.tensor([2.0])])
    assert error == (1.0, 2.0, 2.0)


def test_a_gradient_that_is_not_finite_is_no_small_error():
    error = compare_gradients([torch.tensor([math.inf])], [torch.tensor([2.0])])
    assert all(math.isnan(value) for value in error)


@pytest.mark.parametrize('amp', [None, 'bf16'])
def test_exact_arithmetic_has_no_gradient_error(amp):
    probe = GradientErrorProbe(TINY, 'exact', SIZE, amp=amp)
    for cell in ((1, 0.1), (1, 0), (0.3, 0.7), (0, 1)):
        assert probe.measure(*cell) == ((0.0, 0.0, 0.0), 'ok')


def test_the_error_of_float_arithmetic_shrinks_along_the_schedule():
    probe = GradientErrorProbe(TINY, 'float', SIZE)
    start, middle, end, revnet = (
        probe.measure(*cell)[0].relative_error
        for cell in ((1, 0.1), (0.7, 0.4), (0.3, 0.7), (0, 1))
    )
    assert start > 1e-2 > middle > 1e-5 > end > 1e-8
    assert revnet < 1e-5


def test_an_error_repeats_with_its_seed_and_leaves_the_random_state_alone():
    state = torch.get_rng_state()
    small = named_backbone('swin-t', depths=(1, 1, 1, 1), width=24)
    first, second = (
        GradientErrorProbe(small, 'float', SIZE, seed=3).measure(0.7, 0.4)
        for _ in range(2)
    )
    assert first == second
    assert torch.equal(state, torch.get_rng_state())


def test_an_overflow_is_a_status_and_does_not_spoil_the_next_cell():
    # 24 fraction bits hold ±128; streams at (1, 1) grow as Fibonacci's numbers.
    deep = named_backbone('swin-t', depths=(8, 1, 1, 1), width=24)
    deep['dual_residual'] = dict(fraction_bits=24)
    probe = GradientErrorProbe(deep, 'exact', SIZE)
    error, status = probe.measure(1, 1)
    assert status == 'overflow' and math.isnan(error.relative_error)
    assert probe.measure(0.3, 0.7) == ((0.0, 0.0, 0.0), 'ok')


def test_beta_zero_is_left_out_in_float_arithmetic_only():
    axis = (0.0, 0.5, 1.0)
    assert len(grid_cells(axis, axis, 'exact')) == 9
    assert grid_cells([1.0], axis, 'float') == [(1.0, 0.5), (1.0, 1.0)]


def row(arithmetic, alpha, beta, error, status='ok'):
    return dict(
        alpha=alpha,
        beta=beta,
        arithmetic=arithmetic,
        relative_error=error,
        mean_error=error,
        max_error=error,
        status=status,
    )


@pytest.fixture
def rows():
    axis = (0.0, 0.5, 1.0)
    exact = [row('exact', a, b, 0.0) for a in axis for b in axis]
    exact[-1] = row('exact', 1.0, 1.0, math.nan, 'overflow')
    floats = [row('float', a, b, 2e-5) for a in axis for b in axis if b]
    floats[0] = row('float', 0.0, 0.5, math.nan, 'not finite')
    return exact + floats


def test_the_table_of_a_grid_shows_zeros_skipped_cells_and_failures(rows):
    table = error_report(rows)
    assert table.count('relative gradient error') == 2
    for text in ('2.0e-05', 'nan', 'overflow', '–: beta = 0 cannot be reversed'):
        assert text in table


def test_the_table_of_few_cells_lists_all_three_errors(rows):
    lines = error_report(rows[:2]).splitlines()
    assert lines[0].split()[-3:] == ['relative', 'mean', 'max']
    assert len(lines) == 4


def test_the_heat_map_can_be_drawn_of_zeros_failures_and_single_cells(rows, tmp_path):
    for name, part in (('all', rows), ('zero', rows[:1]), ('failed', rows[8:9])):
        file = tmp_path / f'{name}.png'
        plot_errors(part, str(file), title=name)
        assert file.read_bytes().startswith(b'\x89PNG')


def test_numbers_that_json_lacks_become_text_that_float_reads():
    text = json.dumps(strict_json(row('float', 1.0, 0.1, math.nan)), allow_nan=False)
    assert math.isnan(float(json.loads(text)['relative_error']))


def test_the_grid_has_a_row_a_cell_with_what_it_was_measured_on():
    backbone = named_backbone('swin-t', depths=(1, 1, 1, 1), width=24)
    found = list(gradient_error_grid(backbone, [1.0], [0.0, 0.1], image_size=SIZE))
    assert [(r['arithmetic'], r['beta']) for r in found] == [
        ('exact', 0.0),
        ('exact', 0.1),
        ('float', 0.1),
    ]
    assert found[0]['dtype'] == 'fp32' and found[0]['depths'] == [1, 1, 1, 1]


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code


def test_the_command_writes_table_json_and_plot_of_one_cell(tmp_path, capsys):
    file, plot = tmp_path / 'errors.json', tmp_path / 'errors.png'
    code = run(
        *TINY_ARGUMENTS,
        *('--alpha', '1', '--beta', '0.1', '--amp', 'bf16'),
        *('--json', str(file), '--plot', str(plot)),
    )
    assert code == 0
    out, error = capsys.readouterr()
    assert 'relative' in out and 'ETA' in error
    found = json.loads(file.read_text())
    assert [cell['arithmetic'] for cell in found] == ['exact', 'float']
    assert found[0]['relative_error'] == found[0]['max_error'] == 0
    assert found[0]['dtype'] == 'bf16' and found[0]['backbone'] == 'swin-t'
    assert plot.stat().st_size > 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'either CONFIG or --backbone'),
        (['a.py', '--backbone', 'swin-t'], 'got both'),
        ([*TINY_ARGUMENTS, '--grid', '1'], '--grid 1: give at least 2'),
        (['--backbone', 'swin-t', '--depths', '2'], 'depths (2,) do not fit'),
        (['--backbone', 'swin-t', '--width', '50'], 'multiple of its 3 heads'),
        ([*TINY_ARGUMENTS, '--plot', 'a.xyz'], "--plot a.xyz: cannot draw 'xyz'"),
        ([*TINY_ARGUMENTS, '--device', 'gpu'], '--device gpu'),
        (
            [*TINY_ARGUMENTS, '--beta', '0', '--arithmetic', 'float'],
            'beta = 0 cannot be reversed in float',
        ),
    ],
)
def test_bad_input_is_answered_by_one_line(arguments, message, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
