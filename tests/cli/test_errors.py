"""Which errors become one line, and what it says."""

import pickle

import pytest
from torch.utils.data import DataLoader, Dataset

from dr2net_mm.cli.run_tool import describe, run_tool
from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.rank import launcher_rank
from dr2net_mm.reversible.errors import FixedPointOverflowError


class Unreadable(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        raise DataFileError('cannot read a.png')


def fails_with(error: BaseException):
    def main() -> None:
        raise error

    return main


def test_an_error_of_a_dataset_worker_loses_the_workers_stack():
    with pytest.raises(DataFileError) as caught:
        next(iter(DataLoader(Unreadable(), num_workers=1)))
    assert describe(caught.value, started=True) == 'cannot read a.png'


def test_wrong_configs_are_described_until_the_first_iteration_only():
    error = ValueError('depth must be positive, got -1')
    assert describe(error) == 'ValueError: depth must be positive, got -1'
    assert describe(error, started=True) is None


def test_errors_that_speak_of_themselves_are_described_at_any_time():
    for error in (UserError('a'), FixedPointOverflowError('a')):
        assert describe(error, started=True) == 'a'


def test_a_full_disk_is_described_at_any_time():
    error = OSError(28, 'No space left on device', '/a/epoch_1.pth')
    line = describe(error, True)
    assert line.startswith("No space left on device: '/a/epoch_1.pth'; ")
    assert '--resume' in line


def test_class_prefixes_of_earlier_mmengine_versions_are_dropped():
    error = ValueError(
        'class `DINO` in mmdet/models/detectors/dino.py: class `Dr2SwinTransformer` in '
        'dr2net_mm/models/backbones/swin.py: alpha must be in [0, 1], got 2'
    )
    assert describe(error) == 'ValueError: alpha must be in [0, 1], got 2'


def test_a_refused_class_in_a_checkpoint_is_named():
    error = pickle.UnpicklingError(
        'Weights only load failed.\n\tWeightsUnpickler error: Unsupported global: '
        'GLOBAL types.SimpleNamespace was not an allowed global by default.'
    )
    assert '(types.SimpleNamespace)' in describe(error)


def test_a_tool_ends_with_two_for_bad_input_and_one_line(capsys):
    assert run_tool('tool.py', fails_with(UserError('wrong\n value'))) == 2
    assert capsys.readouterr().err == 'tool.py: error: wrong value\n'


def test_a_tool_ends_with_130_when_interrupted(capsys):
    assert run_tool('tool.py', fails_with(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == 'tool.py: interrupted\n'


def test_a_programming_error_during_the_run_keeps_its_stack():
    with pytest.raises(ZeroDivisionError):
        run_tool('tool.py', lambda: 1 // 0, iterations=lambda: 2)


def test_the_stack_is_shown_on_request(capsys):
    run_tool('tool.py', fails_with(UserError('wrong')), show_traceback=True)
    stderr = capsys.readouterr().err
    assert stderr.startswith('Traceback') and stderr.endswith('tool.py: error: wrong\n')


def test_every_rank_is_heard_only_where_it_alone_can_know(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '3')
    assert launcher_rank() == 3
    assert run_tool('tool.py', fails_with(UserError('same everywhere'))) == 2
    assert capsys.readouterr().err == ''
    assert run_tool('tool.py', fails_with(DataFileError('bad image'))) == 2
    assert capsys.readouterr().err == 'tool.py: error (rank 3): bad image\n'
