import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.testing import RunnerTestCase

from dr2net_mm.engine import FiniteLossHook
from dr2net_mm.errors import NonFiniteError


class Spoiler(Hook):
    """Makes a weight, and so the loss, NaN in the sixth iteration of eight."""

    def __init__(self, moment):
        self.moment = moment

    def spoil(self, moment, runner):
        if moment == self.moment and runner.iter == 5:
            runner.model.linear1.weight.data.fill_(float('nan'))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.spoil('before', runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.spoil('after', runner)


class TestRun(RunnerTestCase):
    def train(self, moment):
        cfg = Config(self.epoch_based_cfg.to_dict())
        cfg.work_dir = tempfile.mkdtemp(dir=self.temp_dir.name)
        cfg.custom_hooks = [dict(type='FiniteLossHook'), dict(type='EMAHook')]
        cfg.default_hooks.checkpoint = dict(
            type='SafeCheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=1
        )
        self.runner = self.build_runner(cfg)
        self.runner.register_hook(Spoiler(moment))
        self.runner.train()

    def check_last_checkpoint(self):
        (path,) = Path(self.runner.work_dir).glob('*.pth')
        assert path.name == 'iter_5.pth'
        saved = torch.load(path, weights_only=True)
        for weights in (saved['state_dict'], saved['ema_state_dict']):
            assert all(torch.isfinite(value).all() for value in weights.values())

    def test_stops_at_a_loss_that_is_no_number_and_keeps_the_checkpoint_before(self):
        with pytest.raises(NonFiniteError, match='loss=nan in iteration 6;'):
            self.train('before')
        self.check_last_checkpoint()

    def test_writes_no_checkpoint_of_weights_that_another_rank_has_spoiled(self):
        with pytest.raises(NonFiniteError, match='linear1.weight has .* iteration 6'):
            self.train('after')
        self.check_last_checkpoint()


def iterate(hook, values, **optim_wrapper):
    runner = SimpleNamespace(iter=0, optim_wrapper=SimpleNamespace(**optim_wrapper))
    for value in values:
        parts = dict(loss_box=torch.tensor(1.0), loss_cls=torch.tensor(value))
        hook.after_train_iter(runner, 0, outputs=dict(parts, loss=sum(parts.values())))
        runner.iter += 1


def test_the_error_names_the_losses_concerned():
    with pytest.raises(NonFiniteError, match='loss_cls=inf, loss=inf in iteration 3'):
        iterate(FiniteLossHook(), [1.0, 2.0, float('inf')])


def test_a_loss_scale_may_skip_iterations_but_not_for_ever():
    nan, scaler = float('nan'), dict(loss_scaler=object())
    iterate(FiniteLossHook(patience=3), [nan, nan, 1.0, nan, nan], **scaler)
    with pytest.raises(NonFiniteError, match='3th time in a row'):
        iterate(FiniteLossHook(patience=3), [1.0, nan, nan, nan], **scaler)


@pytest.mark.parametrize('patience', [0, 1.5])
def test_a_wrong_patience_is_refused(patience):
    with pytest.raises(ValueError, match=str(patience)):
        FiniteLossHook(patience=patience)
