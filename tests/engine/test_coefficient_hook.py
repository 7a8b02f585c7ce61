import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.model import (
    BaseModel,
    ExponentialMovingAverage,
    MMDistributedDataParallel,
)
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from mmengine.testing import RunnerTestCase
from torch import distributed, nn

from dr2net_mm.backbones import DualResidualBackbone, dual_residual_backbones
from dr2net_mm.reversible.errors import FixedPointOverflowError
from tests.fixtures.tiny import TINY_DR2_SWIN

TINY_SWIN = dict(TINY_DR2_SWIN, out_indices=(1,))


class ToyDr2Model(BaseModel):
    """A linear head on a tiny dual-residual backbone."""

    def __init__(self, backbone=TINY_SWIN, **kwargs):
        super().__init__(**kwargs)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(16, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        pixels = torch.stack(list(inputs)).view(-1, 2, 1, 1)
        images = torch.cat([pixels, pixels[:, :1]], dim=1).expand(-1, 3, 16, 16)
        outputs = self.head(self.backbone(images)[-1].mean((2, 3)))
        return dict(loss=outputs.square().mean()) if mode == 'loss' else outputs


class RoundingAverage(ExponentialMovingAverage):
    """An average whose result is off even where both its operands are equal."""

    def avg_func(self, averaged_param, source_param, steps):
        averaged_param.mul_(0.9).add_(source_param, alpha=0.05)


class Recorder(Hook):
    """Notes the coefficients of the model and of its average at every iteration."""

    priority = 'LOWEST'

    def __init__(self):
        self.trained, self.averaged, self.validated = {}, {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.trained[runner.iter] = coefficients(runner.model)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                self.averaged[runner.iter] = coefficients(hook.ema_model)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.validated.append(coefficients(runner.model))


def coefficients(model):
    (backbone,) = dual_residual_backbones(model).values()
    state = backbone.state_dict()
    values = (backbone.alpha, backbone.beta)
    assert values == (state['dual_residual.alpha'], state['dual_residual.beta'])
    return values


class CoefficientHookTestCase(RunnerTestCase):
    """Trains on MMEngine's toy data: 12 samples, 4 iterations an epoch, 2 epochs."""

    def setUp(self):
        super().setUp()
        MODELS.register_module(module=ToyDr2Model, force=True)
        MODELS.register_module(module=RoundingAverage, force=True)
        for cfg in (self.epoch_based_cfg, self.iter_based_cfg):
            cfg.model = dict(type='ToyDr2Model')
            cfg.optim_wrapper.optimizer.lr = 1e-3

    def tearDown(self):
        MODELS.module_dict.pop('ToyDr2Model')
        MODELS.module_dict.pop('RoundingAverage')
        super().tearDown()

    def train(self, cfg, *hooks, resume=None):
        """Train with a coefficient hook and others, and return what happened."""
        cfg = Config(cfg.to_dict())
        cfg.work_dir = tempfile.mkdtemp(dir=self.temp_dir.name)
        cfg.custom_hooks = [hook for hook in hooks if isinstance(hook, dict)]
        if resume:
            cfg.load_from, cfg.resume = str(resume), True
        self.recorder = Recorder()
        self.runner = self.build_runner(cfg)
        for hook in [*hooks, self.recorder]:
            if isinstance(hook, Hook):
                self.runner.register_hook(hook)
        self.runner.train()
        return self.recorder

    def log(self):
        (path,) = Path(self.runner.work_dir).glob('*/*.log')
        return path.read_text()

    def logged(self):
        """(alpha, beta) by iteration, as the visualization backends got them."""
        (path,) = Path(self.runner.work_dir).glob('*/vis_data/2*.json')
        lines = map(json.loads, path.read_text().splitlines())
        return {
            line['iter']: (line['dr2/alpha'], line['dr2/beta'])
            for line in lines
            if 'dr2/alpha' in line
        }


class TestCoefficients(CoefficientHookTestCase):
    def test_follow_the_schedule_at_every_iteration(self):
        hook = dict(type='Dr2CoefficientHook', end_epoch=1, interval=2)
        trained = self.train(self.epoch_based_cfg, hook).trained
        # Half way from (1, 0.1) to (0.3, 0.7) after 2 of 4 iterations.
        half = pytest.approx((0.65, 0.4))
        assert trained[0] == trained[1] == (1.0, 0.1)
        assert trained[2] == half
        assert trained[3] == half
        assert [trained[step] for step in range(4, 8)] == [(0.3, 0.7)] * 4

    def test_are_updated_once_an_epoch_when_the_interval_counts_epochs(self):
        self.epoch_based_cfg.train_cfg.max_epochs = 3
        hook = dict(
            type='Dr2CoefficientHook', end_iter=8, interval=1, interval_by_epoch=True
        )
        trained = self.train(self.epoch_based_cfg, hook).trained
        assert [trained[step] for step in range(4)] == [(1.0, 0.1)] * 4
        assert trained[4] == trained[7] == pytest.approx((0.65, 0.4))
        assert trained[8] == trained[11] == (0.3, 0.7)

    def test_follow_the_schedule_of_a_run_without_epochs(self):
        self.iter_based_cfg.train_cfg.update(max_iters=6, val_interval=2)
        hook = dict(type='Dr2CoefficientHook', end_iter=4, interval=1, end=(0.2, 0.9))
        trained = self.train(self.iter_based_cfg, hook).trained
        assert trained[1] == pytest.approx((0.8, 0.3))
        assert trained[3] == pytest.approx((0.4, 0.7))
        assert trained[4] == trained[5] == (0.2, 0.9)

    def test_follow_iterations_when_gradients_are_accumulated(self):
        self.epoch_based_cfg.optim_wrapper.accumulative_counts = 2
        hook = dict(type='Dr2CoefficientHook', end_epoch=1, interval=2)
        trained = self.train(self.epoch_based_cfg, hook).trained
        assert trained[0] == trained[1] == (1.0, 0.1)
        assert trained[2] == trained[3] == pytest.approx((0.65, 0.4))
        assert trained[4] == (0.3, 0.7)

    def test_of_validation_and_checkpoint_are_those_last_trained(self):
        hook = dict(type='Dr2CoefficientHook', end_iter=8, interval=1, end=(0.2, 0.9))
        validated = self.train(self.epoch_based_cfg, hook).validated
        # Iterations 3 and 7 of 8 are the last ones of the two epochs.
        assert validated[:4] == [pytest.approx((0.7, 0.4))] * 4
        assert validated[4:] == [pytest.approx((0.3, 0.8))] * 4
        model = ToyDr2Model()
        load_checkpoint(model, str(Path(self.runner.work_dir, 'epoch_2.pth')))
        assert coefficients(model) == pytest.approx((0.3, 0.8))

    def test_may_end_at_the_pretrained_architecture(self):
        hook = dict(
            type='Dr2CoefficientHook', end=(1.0, 0.0), end_epoch=1, monotone=False
        )
        trained = self.train(self.epoch_based_cfg, hook).trained
        assert trained[2] == pytest.approx((1.0, 0.05))
        assert trained[4] == trained[7] == (1.0, 0.0)

    def test_are_set_inside_a_distributed_wrapper(self):
        store = Path(self.temp_dir.name, 'store')
        distributed.init_process_group(
            'gloo', init_method=f'file://{store}', rank=0, world_size=1
        )
        self.setup_dist_env()
        self.epoch_based_cfg.launcher = 'pytorch'
        self.epoch_based_cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None
        )
        hook = dict(type='Dr2CoefficientHook', end_epoch=1)
        trained = self.train(self.epoch_based_cfg, hook, dict(type='EMAHook')).trained
        assert isinstance(self.runner.model, MMDistributedDataParallel)
        assert trained[2] == pytest.approx((0.65, 0.4))
        assert trained[4] == (0.3, 0.7)


class TestLogging(CoefficientHookTestCase):
    def test_shows_the_coefficients_in_log_lines_and_backends(self):
        hook = dict(type='Dr2CoefficientHook', end_epoch=1)
        trained = self.train(self.epoch_based_cfg, hook).trained
        lines = [line for line in self.log().splitlines() if '(train)' in line]
        assert 'dr2/alpha: 1.0000  dr2/beta: 0.1000' in lines[0]
        assert 'dr2/alpha: 0.6500  dr2/beta: 0.4000' in lines[2]
        assert 'dr2/alpha: 0.3000  dr2/beta: 0.7000' in lines[7]
        # A log line counts iterations from 1, the schedule from 0.
        assert self.logged() == {step + 1: trained[step] for step in range(8)}


class TestResume(CoefficientHookTestCase):
    def run_and_resume(self, *hooks):
        self.epoch_based_cfg.train_cfg.max_epochs = 4
        whole = self.train(self.epoch_based_cfg, *hooks)
        whole_log = self.logged()
        checkpoint = Path(self.runner.work_dir, 'epoch_2.pth')
        rest = self.train(self.epoch_based_cfg, *hooks, resume=checkpoint)
        assert list(rest.trained) == list(range(8, 16))
        for step in range(8, 16):
            assert rest.trained[step] == whole.trained[step]
            assert self.logged()[step + 1] == whole_log[step + 1]
        return whole, rest

    def test_within_the_schedule_continues_as_if_never_stopped(self):
        hook = dict(type='Dr2CoefficientHook', end_epoch=3, interval=5)
        whole, _ = self.run_and_resume(hook)
        # Iteration 8 is held at the update of iteration 5, of 12.
        assert whole.trained[8] == pytest.approx((1 - 0.7 * 5 / 12, 0.1 + 0.6 * 5 / 12))

    def test_beyond_the_end_point_stays_there(self):
        _, rest = self.run_and_resume(dict(type='Dr2CoefficientHook', end_epoch=1))
        assert set(rest.trained.values()) == {(0.3, 0.7)}

    def test_with_an_averaged_model_continues_both(self):
        hook = dict(type='Dr2CoefficientHook', end_epoch=3, interval=5)
        ema = dict(type='EMAHook', update_buffers=True)
        _, rest = self.run_and_resume(ema, hook)
        assert rest.averaged == rest.trained

    def test_does_not_run_backwards_where_the_end_point_was_moved(self):
        self.epoch_based_cfg.train_cfg.max_epochs = 4
        hook = dict(type='Dr2CoefficientHook', end_epoch=3, interval=1)
        self.train(self.epoch_based_cfg, hook)
        checkpoint = Path(self.runner.work_dir, 'epoch_2.pth')
        later = dict(hook, end_epoch=4)
        with pytest.raises(ValueError, match='monotone=True.*end point.*load_from'):
            self.train(self.epoch_based_cfg, later, resume=checkpoint)
        allowed = dict(later, monotone=False)
        self.train(self.epoch_based_cfg, allowed, resume=checkpoint)
        earlier = dict(hook, end_epoch=2)
        self.train(self.epoch_based_cfg, earlier, resume=checkpoint)


class TestAveragedModel(CoefficientHookTestCase):
    def check(self, *hooks):
        recorder = self.train(self.epoch_based_cfg, *hooks)
        assert list(recorder.averaged) == list(range(8))
        assert recorder.averaged == recorder.trained
        # Validation runs the average, after iterations 3 and 7.
        assert recorder.validated[0] == recorder.trained[3]
        assert recorder.validated[-1] == recorder.trained[7]
        for epoch, step in ((1, 3), (2, 7)):
            path = Path(self.runner.work_dir, f'epoch_{epoch}.pth')
            saved = torch.load(path, map_location='cpu', weights_only=False)
            for prefix, key in (('', 'state_dict'), ('module.', 'ema_state_dict')):
                name = f'{prefix}backbone.dual_residual.'
                values = (saved[key][f'{name}alpha'], saved[key][f'{name}beta'])
                assert values == recorder.trained[step]

    def test_has_the_same_coefficients_wherever_its_hook_stands(self):
        hook = dict(type='Dr2CoefficientHook', end_iter=8, interval=1)
        ema = dict(type='EMAHook')
        self.check(hook, ema)
        self.check(ema, hook)
        self.check({**ema, 'priority': 'HIGHEST'}, hook)

    def test_has_the_same_coefficients_when_buffers_are_averaged(self):
        hook = dict(type='Dr2CoefficientHook', end_iter=8, interval=1)
        self.check(dict(type='EMAHook', update_buffers=True), hook)
        self.check(
            dict(type='EMAHook', ema_type='RoundingAverage', update_buffers=True), hook
        )

    def test_has_the_same_coefficients_before_averaging_begins(self):
        hook = dict(type='Dr2CoefficientHook', end_iter=8, interval=1)
        self.check(dict(type='EMAHook', begin_iter=6), hook)


class TestOverflow(CoefficientHookTestCase):
    def test_stops_the_run_before_a_checkpoint_is_written(self):
        class Overflow(Hook):
            priority = 'LOWEST'

            def before_train_iter(self, runner, batch_idx, data_batch=None):
                if runner.iter == 2:
                    nn.init.constant_(runner.model.backbone.patch_embed.norm.bias, 1e6)

        cfg = self.epoch_based_cfg
        cfg.default_hooks.checkpoint = dict(
            type='CheckpointHook', interval=1, by_epoch=False
        )
        hook = dict(type='Dr2CoefficientHook', end_epoch=1)
        with pytest.raises(FixedPointOverflowError):
            self.train(cfg, hook, Overflow())
        saved = sorted(path.name for path in Path(self.runner.work_dir).glob('*.pth'))
        assert saved == ['iter_1.pth', 'iter_2.pth']

    def test_that_a_device_reports_late_stops_the_run_before_the_checkpoint_too(self):
        # On CUDA the forward pass does not wait for the answer; check_overflow does.
        def check(backbone):
            if self.runner.iter == 2:
                raise FixedPointOverflowError('stage 1')

        self.epoch_based_cfg.default_hooks.checkpoint = dict(
            type='CheckpointHook', interval=1, by_epoch=False
        )
        hook = dict(type='Dr2CoefficientHook', end_epoch=1)
        with mock.patch.object(DualResidualBackbone, 'check_overflow', check):
            with pytest.raises(FixedPointOverflowError):
                self.train(self.epoch_based_cfg, hook)
        saved = sorted(path.name for path in Path(self.runner.work_dir).glob('*.pth'))
        assert saved == ['iter_1.pth', 'iter_2.pth']


class TestErrors(CoefficientHookTestCase):
    def check(self, cfg, words, error=ValueError, **hook):
        with pytest.raises(error) as caught:
            self.train(cfg, dict(type='Dr2CoefficientHook', **hook))
        for word in words:
            assert word in str(caught.value)
        if hasattr(self, 'recorder'):
            assert not self.recorder.trained

    def test_model_without_dual_residual_backbone(self):
        self.epoch_based_cfg.model = dict(type='ToyModel')
        words = ['no dual-residual backbone', 'ToyModel', 'Dr2SwinTransformer']
        self.check(self.epoch_based_cfg, words, end_epoch=1)

    def test_data_without_a_batch(self):
        self.epoch_based_cfg.train_dataloader.update(batch_size=100, drop_last=True)
        words = ['no batch', 'drop_last', 'ann_file']
        self.check(self.epoch_based_cfg, words, end_epoch=1)

    def test_end_point_beyond_a_run_of_epochs(self):
        words = ['end_epoch=10', '2 epochs', '(0.3, 0.7)']
        self.check(self.epoch_based_cfg, words, end_epoch=10)

    def test_end_point_beyond_a_run_of_iterations(self):
        words = ['end_iter=13', '12 iterations']
        self.check(self.iter_based_cfg, words, end_iter=13)

    def test_epochs_in_a_run_without_epochs(self):
        words = ['end_epoch=1', 'end_iter', '12']
        self.check(self.iter_based_cfg, words, end_epoch=1)
        words = ['interval=2', 'interval_by_epoch=False', '12']
        self.check(self.iter_based_cfg, words, end_iter=4, interval_by_epoch=True)

    def test_zero_beta_where_float_arithmetic_has_to_reverse(self):
        backbone = dict(TINY_SWIN, dual_residual=dict(arithmetic='float'))
        self.epoch_based_cfg.model.backbone = backbone
        end = dict(end=(1.0, 0.0), monotone=False, end_epoch=1)
        words = ['end of Dr2CoefficientHook', 'backbone', 'beta = 0', "'exact'"]
        self.check(self.epoch_based_cfg, words, **end)

    def test_zero_beta_is_fine_where_activations_are_stored(self):
        options = dict(arithmetic='float', backprop='stored')
        self.epoch_based_cfg.model.backbone = dict(TINY_SWIN, dual_residual=options)
        end = dict(end=(1.0, 0.0), monotone=False, end_epoch=1)
        self.train(self.epoch_based_cfg, dict(type='Dr2CoefficientHook', **end))
        assert self.recorder.trained[7] == (1.0, 0.0)

    def test_end_point_at_the_end_of_the_run_is_allowed_with_a_warning(self):
        hook = dict(type='Dr2CoefficientHook', end_epoch=2)
        self.train(self.epoch_based_cfg, hook)
        assert 'reaches its end point (0.3, 0.7) only when the run ends' in self.log()


def test_hook_does_nothing_in_a_test_run(tmp_path):
    backbone = dict(TINY_SWIN, dual_residual=dict(alpha=0.5, beta=0.25))
    runner = Runner(
        ToyDr2Model(backbone),
        str(tmp_path),
        custom_hooks=[dict(type='Dr2CoefficientHook', end_epoch=1)],
        experiment_name=str(tmp_path),
    )
    runner.call_hook('before_run')
    runner.call_hook('before_val_epoch')
    runner.call_hook('before_test_epoch')
    assert coefficients(runner.model) == (0.5, 0.25)
