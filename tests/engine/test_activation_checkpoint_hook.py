import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import load_checkpoint
from mmengine.testing import RunnerTestCase
from torch import distributed, nn

from dr2net_mm.engine import ActivationCheckpointHook
from dr2net_mm.memory.activation_checkpoint import is_checkpointed

HOOK = dict(type='ActivationCheckpointHook', modules=['layers'])


class Counted(nn.Linear):
    """A layer that counts its forward passes."""

    runs = 0

    def forward(self, x):
        self.runs += 1
        return super().forward(x)


class ToyLayeredModel(BaseModel):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layers = nn.ModuleList(Counted(2, 2) for _ in range(2))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        outputs = torch.stack(list(inputs)).view(-1, 2)
        for layer in self.layers:
            outputs = layer(outputs).tanh()
        return dict(loss=outputs.square().mean()) if mode == 'loss' else outputs


class Watcher(Hook):
    """Notes how often the first layer runs, in the model and in its average."""

    priority = 'LOWEST'

    def __init__(self):
        self.trained, self.averaged, self.validated = [], [], []

    @staticmethod
    def layer(model):
        return getattr(model, 'module', model).layers[0]

    def note(self, runner, kept):
        layer = self.layer(runner.model)
        kept.append(layer.runs)
        layer.runs = 0
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                averaged = self.layer(hook.ema_model)
                self.averaged.append((averaged.runs, is_checkpointed(averaged)))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.note(runner, self.trained)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.note(runner, self.validated)


class TestActivationCheckpointHook(RunnerTestCase):
    PIECES = [dict(module='layers', samples=['x'], size=1)]

    def setUp(self):
        super().setUp()
        MODELS.register_module(module=ToyLayeredModel, force=True)
        self.epoch_based_cfg.model = dict(type='ToyLayeredModel')
        self.epoch_based_cfg.train_cfg.max_epochs = 1

    def tearDown(self):
        MODELS.module_dict.pop('ToyLayeredModel')
        super().tearDown()

    def train(self, *hooks, times=1, **changes):
        cfg = Config(self.epoch_based_cfg.to_dict())
        cfg.merge_from_dict(changes)
        cfg.work_dir = tempfile.mkdtemp(dir=self.temp_dir.name)
        cfg.custom_hooks = list(hooks)
        cfg.randomness = dict(seed=0)
        runner = self.build_runner(cfg)
        watcher = Watcher()
        runner.register_hook(watcher)
        for _ in range(times):
            runner.train()
        return runner, watcher

    def test_training_runs_the_modules_twice_and_validation_once(self):
        _, watcher = self.train(HOOK)
        assert watcher.trained and set(watcher.trained) == {2}
        assert watcher.validated and set(watcher.validated) == {1}

    def test_the_trained_weights_are_those_of_a_run_without_it(self):
        plain, _ = self.train()
        checkpointed, _ = self.train(HOOK)
        expected = plain.model.state_dict()
        found = checkpointed.model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        saved = load_checkpoint(
            checkpointed.model, f'{checkpointed.work_dir}/epoch_1.pth'
        )
        assert saved['state_dict'].keys() == expected.keys()

    def test_an_averaged_copy_is_neither_changed_nor_run_in_place_of_the_model(self):
        for hooks in ([HOOK, dict(type='EMAHook')], [dict(type='EMAHook'), HOOK]):
            runner, watcher = self.train(*hooks)
            assert set(watcher.trained) == {2}
            assert set(watcher.averaged) == {(0, False)}

    def test_a_second_training_run_and_what_comes_after_find_it_as_the_first_did(self):
        runner, watcher = self.train(HOOK, times=2)
        assert set(watcher.trained) == {2}
        assert not any(is_checkpointed(layer) for layer in runner.model.layers)

    def test_it_reaches_inside_a_distributed_wrapper(self):
        store = Path(self.temp_dir.name, 'store')
        distributed.init_process_group(
            'gloo', init_method=f'file://{store}', rank=0, world_size=1
        )
        self.setup_dist_env()
        runner, watcher = self.train(
            HOOK,
            launcher='pytorch',
            model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
        )
        assert isinstance(runner.model, MMDistributedDataParallel)
        assert set(watcher.trained) == {2}

    def test_pieces_train_to_the_weights_of_a_run_without_them(self):
        plain, _ = self.train()
        pieces = dict(type='ActivationCheckpointHook', pieces=self.PIECES)
        runner, watcher = self.train(pieces, dict(type='EMAHook'))
        assert set(watcher.validated) == {1} and set(watcher.averaged) == {(0, False)}
        # Three samples, each by itself, forward and backward.
        assert set(watcher.trained) == {6}
        found, expected = runner.model.state_dict(), plain.model.state_dict()
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value)
        assert all('forward' not in vars(m) for m in runner.model.modules())

    def test_an_unknown_module_is_an_error_before_training(self):
        with pytest.raises(ValueError, match="no module 'layer'; nearest: layers"):
            self.train(dict(HOOK, modules=['layer']))


@pytest.mark.parametrize(
    ('modules', 'error', 'message'),
    [
        ([], ValueError, 'is empty'),
        (3, TypeError, 'must be names of modules.*got 3'),
        ([3], TypeError, r'must be names of modules.*got \[3\]'),
    ],
)
def test_wrong_modules_are_refused_when_the_hook_is_built(modules, error, message):
    with pytest.raises(error, match=message):
        HOOKS.build(dict(type='ActivationCheckpointHook', modules=modules))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(pieces=[3]), TypeError, r'pieces .* must be names of modules.*got \[3\]'),
        (dict(pieces=dict(samples=['x'])), TypeError, 'needs the name of a module'),
        (dict(preset='all'), ValueError, "preset 'all' is unknown; accepted: auto, "),
        (dict(preset='auto', piece_tokens=0), ValueError, 'piece_tokens .* is 0; acc'),
        (dict(preset='auto', piece_tokens=True), ValueError, 'is True; accepted'),
        (dict(preset='auto', piece_tokens='8k'), ValueError, "is '8k'; accepted"),
    ],
)
def test_wrong_pieces_are_refused_when_the_hook_is_built(arguments, error, message):
    with pytest.raises(error, match=message):
        HOOKS.build(dict(type='ActivationCheckpointHook', **arguments))


def test_the_number_of_tokens_is_for_parts_that_are_cut_along_tokens():
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv1d(2, 2, 1))
    by_samples = dict(module='1', samples=['input'])
    hook = ActivationCheckpointHook(pieces=['0', by_samples], piece_tokens=100)
    assert [part.size for part in hook.parts(model)] == [100, 'auto']


def test_one_name_needs_no_list():
    assert ActivationCheckpointHook('layers').modules == ['layers']
