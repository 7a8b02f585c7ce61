import os
from pathlib import Path
from unittest import mock

import pytest
from mmengine.testing import RunnerTestCase

from dr2net_mm import atomic_file


class TestOutdatedCheckpoints(RunnerTestCase):
    def train(self, at, kind='SafeCheckpointHook', **options):
        """Train with a disk that is full from the ``at``-th checkpoint on."""
        cfg = self.epoch_based_cfg
        cfg.train_cfg.max_epochs = 3
        cfg.default_hooks.checkpoint = dict(
            type=kind, interval=1, max_keep_ckpts=1, **options
        )
        self.runner = self.build_runner(cfg)
        seen = []

        def replace(source, target):
            if target.endswith('.pth'):
                seen.append(target)
                if len(seen) >= at:
                    raise OSError(28, 'No space left on device', target)
            os.rename(source, target)

        with mock.patch.object(atomic_file.os, 'replace', replace):
            self.runner.train()

    def kept(self):
        folder = Path(self.runner.work_dir)
        return sorted(path.name for path in folder.glob('*.pth'))

    def test_are_removed_when_the_next_one_is_written(self):
        self.train(at=100)
        assert self.kept() == ['epoch_3.pth']

    def test_stay_when_the_next_one_cannot_be_written(self):
        with pytest.raises(OSError, match='No space left'):
            self.train(at=3)
        assert self.kept() == ['epoch_2.pth']
        record = Path(self.runner.work_dir, 'last_checkpoint').read_text()
        assert Path(record).name == 'epoch_2.pth'

    def test_are_gone_before_that_with_mmengines_hook(self):
        # So the test above would see a difference.
        with pytest.raises(OSError, match='No space left'):
            self.train(at=3, kind='CheckpointHook')
        assert self.kept() == []

    def test_that_were_best_stay_until_a_better_one_is_written(self):
        metrics = iter([dict(acc=value) for value in (1, 2, 3)])
        with mock.patch(
            'mmengine.testing.runner_test_case.ToyMetric.compute_metrics',
            lambda self, results: next(metrics),
        ):
            # Each epoch writes its checkpoint, the best one, and its own again.
            with pytest.raises(OSError, match='No space left'):
                self.train(at=5, save_best='acc', rule='greater')
        assert 'best_acc_epoch_1.pth' in self.kept()
