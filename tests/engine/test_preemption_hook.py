import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.testing import RunnerTestCase

from dr2net_mm.engine import PreemptionHook
from dr2net_mm.errors import StoppedBySignal


class Signaller(Hook):
    """Sends a signal to its own process while an iteration runs."""

    def __init__(self, number, at):
        self.number, self.at = number, at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            os.kill(os.getpid(), self.number)


class TestPreemption(RunnerTestCase):
    """Four iterations an epoch, two epochs; the signal comes in the third iteration."""

    def train(self, number=signal.SIGTERM, loop='ResumableEpochLoop', **options):
        cfg = Config(self.epoch_based_cfg.to_dict())
        cfg.work_dir = tempfile.mkdtemp(dir=self.temp_dir.name)
        cfg.train_cfg.pop('by_epoch')
        cfg.train_cfg.type = loop
        cfg.custom_hooks = [dict(type='PreemptionHook', **options)]
        self.runner = self.build_runner(cfg)
        if number is not None:
            self.runner.register_hook(Signaller(number, at=2))
        self.runner.train()

    def checkpoint(self):
        path = Path(self.runner.work_dir, 'last_checkpoint').read_text()
        return Path(path).name, torch.load(path, weights_only=True)['meta']

    def test_saves_after_the_iteration_and_records_the_checkpoint(self):
        for number, name in ((signal.SIGTERM, 'SIGTERM'), (signal.SIGUSR1, 'SIGUSR1')):
            with pytest.raises(StoppedBySignal, match=f'{name} after iteration 3'):
                self.train(number)
            name, meta = self.checkpoint()
            assert name == 'interrupted.pth'
            assert (meta['epoch'], meta['iter']) == (0, 3)

    def test_leaves_the_signals_as_they_were(self):
        before = [signal.getsignal(number) for number in PreemptionHook().signals]
        with pytest.raises(StoppedBySignal):
            self.train()
        self.train(number=None)
        after = [signal.getsignal(number) for number in PreemptionHook().signals]
        assert after == before

    def test_goes_on_to_the_next_update_of_accumulated_gradients(self):
        self.epoch_based_cfg.optim_wrapper.accumulative_counts = 4
        with pytest.raises(StoppedBySignal, match='after iteration 4'):
            self.train()

    def test_goes_on_to_the_next_question_to_the_ranks(self):
        with pytest.raises(StoppedBySignal, match='after iteration 5'):
            self.train(interval=5)

    def test_saves_nothing_that_mmengines_loop_could_not_go_on_from(self):
        with pytest.raises(StoppedBySignal, match='from the last checkpoint'):
            self.train(loop='EpochBasedTrainLoop')
        assert not list(Path(self.runner.work_dir).glob('*.pth'))

    def test_saves_where_the_checkpoint_hook_does(self):
        with tempfile.TemporaryDirectory() as folder:
            self.epoch_based_cfg.default_hooks.checkpoint = dict(
                type='CheckpointHook', interval=1, out_dir=folder
            )
            with pytest.raises(StoppedBySignal, match=folder):
                self.train()
            assert Path(self.checkpoint_path()).parent.parent == Path(folder)

    def checkpoint_path(self):
        return Path(self.runner.work_dir, 'last_checkpoint').read_text()


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(signals=['SIGNONE']), 'SIGNONE'),
        (dict(signals='SIGTERM'), 'SIGTERM'),
        (dict(interval=0), 'got 0'),
    ],
)
def test_wrong_arguments_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        PreemptionHook(**options)
