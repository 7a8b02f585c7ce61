from pathlib import Path

import cv2
import pytest
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from dr2net_mm.analysis.schedule.command import format_table, main
from dr2net_mm.reversible.schedule import CoefficientSchedule

TOOL = Path(__file__).parents[3] / 'tools' / 'analysis' / 'plot_schedule.py'
HOOK = "dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=2, interval=5)"
CONFIG = """
custom_hooks = [dict(type='EMAHook'), {hook}]
train_cfg = dict(by_epoch=True, max_epochs=3)
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='{dataset}'),
)
"""


class TenSamples(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index


class MissingFile(Dataset):
    def __init__(self):
        raise FileNotFoundError('data/train.json is missing')


@pytest.fixture(autouse=True)
def toy_datasets():
    for dataset in (TenSamples, MissingFile):
        DATASETS.register_module(module=dataset, force=True)
    yield
    for dataset in (TenSamples, MissingFile):
        DATASETS.module_dict.pop(dataset.__name__)


def write_config(folder, hook=HOOK, dataset='TenSamples'):
    path = folder / 'toy_config.py'
    path.write_text(CONFIG.format(hook=hook, dataset=dataset))
    return str(path)


def run(arguments):
    """Run the command and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def rows(output):
    """The lines of a table that hold numbers only."""
    table = [line.split() for line in output.splitlines()]
    return [
        [float(cell) for cell in line]
        for line in table
        if line and all(cell.replace('.', '').isdigit() for cell in line)
    ]


def test_table_holds_every_change_and_its_epoch(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([write_config(tmp_path), '--iters-per-epoch', '6']) == 0
    output = capsys.readouterr().out
    assert 'run: 18 iterations (3 epochs of 6)' in output
    # p = 5/12, 10/12 and 1, at iterations 5, 10 and 12.
    assert rows(output) == [
        [0, 0, 1, 0.1],
        [5, 0.83, 0.708333, 0.35],
        [10, 1.67, 0.416667, 0.6],
        [12, 2, 0.3, 0.7],
    ]


def test_epoch_is_counted_from_the_dataset_when_its_length_is_not_given(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run([write_config(tmp_path)]) == 0
    output = capsys.readouterr().out
    # 10 samples in batches of 3 make 4 iterations.
    assert '12 iterations (3 epochs of 4)' in output
    assert 'several GPUs give --iters-per-epoch' in output


def test_run_of_iterations_needs_neither_dataset_nor_epoch_length(tmp_path, capsys):
    hook = "dict(type='Dr2CoefficientHook', end_iter=10, interval=10)"
    path = write_config(tmp_path, hook, dataset='MissingFile')
    with open(path, 'a') as file:
        file.write('train_cfg = dict(by_epoch=False, max_iters=30)\n')
    assert run([path, '--out', str(tmp_path / 'out.png')]) == 0
    output = capsys.readouterr().out
    assert 'run: 30 iterations\n' in output
    assert rows(output) == [[0, 1, 0.1], [10, 0.3, 0.7]]


def test_picture_lies_beside_the_work_directory_and_is_not_blank(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run([write_config(tmp_path), '--iters-per-epoch', '6']) == 0
    picture = cv2.imread(str(tmp_path / 'work_dirs' / 'toy_config_schedule.png'))
    blue, orange = (180, 119, 31), (2, 95, 217)  # BGR
    for color in (blue, orange):
        assert (abs(picture.astype(int) - color).sum(2) < 30).sum() > 500


def test_picture_is_written_where_asked(tmp_path):
    out = tmp_path / 'new' / 'picture.png'
    assert (
        run([write_config(tmp_path), '--iters-per-epoch', '6', '--out', str(out)]) == 0
    )
    assert out.stat().st_size > 5000


def test_settings_are_overridden_from_the_command_line(tmp_path, capsys):
    out = ['--out', str(tmp_path / 'out.png')]
    override = ['--cfg-options', 'custom_hooks.1.interval=6']
    assert run([write_config(tmp_path), '--iters-per-epoch', '6', *out, *override]) == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == [0, 6, 12]


def test_long_table_keeps_its_ends_and_says_what_it_leaves_out():
    text = format_table(CoefficientSchedule(end_step=100000))
    steps = [row[0] for row in rows(text)]
    assert steps[:3] == [0, 1, 2]
    assert steps[-3:] == [99998, 99999, 100000]
    assert len(steps) == 24
    assert '24 of 100001 change points' in text


@pytest.mark.parametrize('points', [23, 24, 25, 26, 50])
def test_table_of_any_length_is_in_order_and_without_repetition(points):
    text = format_table(CoefficientSchedule(end_step=points - 1))
    steps = [row[0] for row in rows(text)]
    assert steps == sorted(set(steps))
    assert len(steps) == min(points, 24)


@pytest.mark.parametrize(
    'hook, arguments, words',
    [
        (HOOK, [], ['data/train.json is missing', '--iters-per-epoch N']),
        ("dict(type='EMAHook')", [], ['0 hooks', 'custom_hooks']),
        (f'{HOOK}, {HOOK}', [], ['2 hooks', 'exactly one']),
        (
            HOOK.replace('end_epoch=2', 'end_epoch=9'),
            ['--iters-per-epoch', '6'],
            ['end_epoch=9', '3 epochs'],
        ),
        (
            HOOK.replace('end_epoch=2', 'order=3, end_epoch=2'),
            ['--iters-per-epoch', '6'],
            ['order is 3', 'alpha_first'],
        ),
    ],
)
def test_config_that_cannot_be_drawn_gives_one_clear_line(
    tmp_path, capsys, hook, arguments, words
):
    path = write_config(tmp_path, hook, dataset='MissingFile')
    assert run([path, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for word in words:
        assert word in line


def test_missing_config_gives_one_clear_line(tmp_path, capsys):
    assert run([str(tmp_path / 'absent.py')]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'absent.py' in line
    assert 'does not exist' in line


def test_help_explains_with_an_example(help_of):
    shown = help_of(TOOL)
    assert 'Example' in shown
    assert 'tools/analysis/plot_schedule.py' in shown
    assert '--iters-per-epoch' in shown
