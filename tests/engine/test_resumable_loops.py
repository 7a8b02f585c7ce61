import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.testing import RunnerTestCase
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from dr2net_mm.engine.runner import ResumableEpochLoop
from dr2net_mm.engine.runner.seeded_batches import make_resumable
from dr2net_mm.errors import UserError


class AugmentedNumbers(Dataset):
    """Twelve numbers with noise of three generators; counts what is loaded."""

    metainfo = {}
    loaded = 0

    def __len__(self):
        return 12

    def __getitem__(self, index):
        AugmentedNumbers.loaded += 1
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return dict(inputs=torch.tensor([float(index), noise]), data_samples=index)


class NoisyModel(BaseModel):
    """A linear layer whose loss has random numbers of the forward pass in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        outputs = self.linear(torch.stack(list(inputs)) / 12)
        if mode != 'loss':
            return outputs
        return dict(loss=(outputs * torch.rand(len(outputs), 1)).square().mean())


class NoisyNormModel(NoisyModel):
    """The same with statistics that every forward pass changes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.linear = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))


class BatchRecorder(Hook):
    priority = 'LOWEST'

    def __init__(self):
        self.order, self.places, self.validated = {}, {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.order[runner.iter] = [int(index) for index in data_batch['data_samples']]
        self.places[runner.iter] = batch_idx

    def before_val(self, runner):
        self.validated.append(runner.iter)


class LoopTestCase(RunnerTestCase):
    """Twelve samples in batches of three: 4 iterations an epoch, 2 epochs."""

    def setUp(self):
        super().setUp()
        MODELS.register_module(module=NoisyModel, force=True)
        MODELS.register_module(module=NoisyNormModel, force=True)
        DATASETS.register_module(module=AugmentedNumbers, force=True)
        for cfg, loop in (
            (self.epoch_based_cfg, 'ResumableEpochLoop'),
            (self.iter_based_cfg, 'ResumableIterLoop'),
        ):
            cfg.model = dict(type='NoisyModel')
            cfg.optim_wrapper.optimizer = dict(type='Adam', lr=0.01)
            cfg.train_dataloader.dataset = dict(type='AugmentedNumbers')
            cfg.train_cfg.pop('by_epoch', None)
            cfg.train_cfg.type = loop
            cfg.default_hooks.checkpoint = dict(
                type='CheckpointHook', interval=1, by_epoch=False
            )
            cfg.randomness = dict(seed=1)
        self.iter_based_cfg.train_cfg.update(max_iters=8, val_interval=4)

    def tearDown(self):
        MODELS.module_dict.pop('NoisyModel')
        MODELS.module_dict.pop('NoisyNormModel')
        DATASETS.module_dict.pop('AugmentedNumbers')
        super().tearDown()

    def train(self, cfg, resume=None, *hooks):
        cfg = Config(cfg.to_dict())
        cfg.work_dir = tempfile.mkdtemp(dir=self.temp_dir.name)
        if resume is not None:
            cfg.load_from, cfg.resume = str(resume), True
        self.recorder = BatchRecorder()
        self.runner = self.build_runner(cfg)
        for hook in (self.recorder, *hooks):
            self.runner.register_hook(hook)
        AugmentedNumbers.loaded = 0
        self.runner.train()
        return self.runner

    def final(self):
        return torch.load(Path(self.runner.work_dir, 'iter_8.pth'), weights_only=True)

    def check_resumed_anywhere(self, cfg, at=(1, 4, 6), again=(0, 0, 0)):
        whole = self.train(cfg)
        order, weights, places = (
            self.recorder.order,
            self.final()['state_dict'],
            self.recorder.places,
        )
        for done, loaded_again in zip(at, again):
            self.train(cfg, Path(whole.work_dir, f'iter_{done}.pth'))
            rest = range(done, 8)
            assert self.recorder.order == {step: order[step] for step in rest}
            assert self.recorder.places == {step: places[step] for step in rest}
            # The validation has no such data: what was trained on is not loaded.
            assert AugmentedNumbers.loaded == 3 * (len(rest) + loaded_again)
            resumed = self.final()['state_dict']
            assert all(torch.equal(resumed[name], weights[name]) for name in weights)


class TestResumed(LoopTestCase):
    def test_anywhere_in_an_epoch_trains_the_rest_of_it_to_the_same_weights(self):
        self.check_resumed_anywhere(self.epoch_based_cfg)

    def test_at_any_iteration_of_an_infinite_sampler_gives_the_same_weights(self):
        self.check_resumed_anywhere(self.iter_based_cfg)

    def test_at_any_iteration_of_a_sampler_that_ends_gives_the_same_weights(self):
        self.iter_based_cfg.train_dataloader.sampler = dict(type='DefaultSampler')
        self.check_resumed_anywhere(self.iter_based_cfg)
        # Each pass over the data has an order of its own.
        whole = self.train(self.iter_based_cfg) and self.recorder.order
        assert sorted(sum((whole[step] for step in range(4)), [])) == list(range(12))
        assert [whole[step] for step in range(4)] != [whole[4 + i] for i in range(4)]

    def test_between_two_updates_of_accumulated_gradients_gives_the_same_weights(self):
        # Three iterations an update: one goes over the end of the epoch of four.
        for cfg in (self.epoch_based_cfg, self.iter_based_cfg):
            cfg.optim_wrapper.accumulative_counts = 3
            cfg.model.type = 'NoisyNormModel'
            self.check_resumed_anywhere(cfg, at=(4, 5), again=(1, 2))

    def test_from_mmengine_orders_the_data_as_mmengine_does(self):
        for cfg, loop in (
            (self.epoch_based_cfg, 'EpochBasedTrainLoop'),
            (self.iter_based_cfg, 'IterBasedTrainLoop'),
        ):
            ours = self.train(cfg) and self.recorder.order
            cfg.train_cfg.type = loop
            assert self.train(cfg) and self.recorder.order == ours

    def test_with_mmengines_loops_would_not_give_the_same_weights(self):
        # So the tests above would see a difference.
        for cfg, loop in (
            (self.epoch_based_cfg, 'EpochBasedTrainLoop'),
            (self.iter_based_cfg, 'IterBasedTrainLoop'),
        ):
            cfg.train_cfg.type = loop
            whole = self.train(cfg)
            weights = self.final()['state_dict']
            self.train(cfg, Path(whole.work_dir, 'iter_4.pth'))
            resumed = self.final()['state_dict']
            assert not torch.equal(weights['linear.weight'], resumed['linear.weight'])


class TestValidation(LoopTestCase):
    def test_that_was_due_after_the_checkpoint_is_made_up_for(self):
        for cfg in (self.epoch_based_cfg, self.iter_based_cfg):
            whole = self.train(cfg)
            assert self.recorder.validated == [4, 8]
            self.train(cfg, Path(whole.work_dir, 'iter_5.pth'))
            assert self.recorder.validated == [8]
            # Resumed at the end: the last one may not have been.
            self.train(cfg, Path(whole.work_dir, 'iter_8.pth'))
            assert self.recorder.validated == [8] and not self.recorder.order
        whole = self.train(self.iter_based_cfg)
        self.train(self.iter_based_cfg, Path(whole.work_dir, 'iter_4.pth'))
        assert self.recorder.validated == [4, 8]

    def test_of_an_epoch_is_made_up_for_from_the_checkpoint_of_that_epoch(self):
        self.epoch_based_cfg.default_hooks.checkpoint.by_epoch = True
        whole = self.train(self.epoch_based_cfg)
        self.train(self.epoch_based_cfg, Path(whole.work_dir, 'epoch_1.pth'))
        assert self.recorder.validated == [4, 8]

    def test_that_the_checkpoint_knows_of_is_not_repeated(self):
        checkpoint = self.epoch_based_cfg.default_hooks.checkpoint
        checkpoint.update(by_epoch=True, save_best='acc', rule='greater')
        whole = self.train(self.epoch_based_cfg)
        # The first result is the best: the checkpoint is saved again to note it.
        self.train(self.epoch_based_cfg, Path(whole.work_dir, 'epoch_1.pth'))
        assert self.recorder.validated == [8]


class TestData(LoopTestCase):
    def test_of_epochs_of_another_length_is_refused(self):
        whole = self.train(self.epoch_based_cfg)
        self.epoch_based_cfg.train_dataloader.batch_size = 2
        with pytest.raises(UserError, match=r'4 iterations an epoch.*has 6'):
            self.train(self.epoch_based_cfg, Path(whole.work_dir, 'iter_4.pth'))

    def test_in_other_batches_is_warned_of_where_there_are_no_epochs(self):
        whole = self.train(self.iter_based_cfg)
        self.iter_based_cfg.train_dataloader.batch_size = 2
        self.train(self.iter_based_cfg, Path(whole.work_dir, 'iter_4.pth'))
        (log,) = Path(self.runner.work_dir).glob('*/*.log')
        assert (
            'batch size 3, this one has 1 processes x batch size 2' in log.read_text()
        )

    def test_without_batches_is_refused(self):
        with pytest.raises(ValueError, match='mmengine.EpochBasedTrainLoop'):
            make_resumable(DataLoader([1, 2], batch_size=None))

    def test_order_of_a_sampler_that_uses_the_global_generators_is_the_same_again(self):
        sampler = BatchSampler(RandomSampler(range(20)), 2, drop_last=False)

        def batches(done):
            resumable = make_resumable(DataLoader(range(20), batch_sampler=sampler))
            assert resumable.open(seed=3, epoch=1, done=done) == 0
            for batch in resumable:
                torch.rand(1)
                yield batch.indices, batch.key

        whole = list(batches(0))
        assert list(batches(4)) == whole[4:]
        assert make_resumable(
            DataLoader(range(20), batch_sampler=sampler)
        ).open(3, 1, 12) == 2  # fmt: skip

    def test_workers_load_the_same_samples(self):
        loaded = []
        for workers in (0, 2):
            dataloader = DataLoader(
                AugmentedNumbers(), batch_size=3, num_workers=workers
            )
            make_resumable(dataloader).open(seed=0, epoch=0, done=1)
            loaded.append([batch['inputs'].tolist() for batch in dataloader])
        assert loaded[0] == loaded[1] and len(loaded[0]) == 3

    def test_leaves_no_workers_at_work_before_the_loop_runs(self):
        cfg = self.iter_based_cfg
        cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
        runner = self.build_runner(cfg)
        loop = runner.build_train_loop(cfg.train_cfg)
        assert loop.dataloader._iterator is None


class TestRegistry(LoopTestCase):
    def test_finds_the_loop_in_any_scope(self):
        self.epoch_based_cfg.default_scope = 'mmdet'
        assert isinstance(
            self.train(self.epoch_based_cfg).train_loop, ResumableEpochLoop
        )
