"""What ``ReversibilityHook`` measures and says, and that training goes on as it is."""

import json
import uuid
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch import nn

from dr2net_mm.engine import ReversibilityHook
from dr2net_mm.engine.hooks import reversibility_hook
from dr2net_mm.reversible import ReconstructionError
from tests.fixtures.tiny import TINY_DR2_SWIN

#: Deep enough for floating point to fail at (1, 0.1), in the second stage most.
SWIN = dict(TINY_DR2_SWIN, depths=(1, 4), drop_path_rate=0.1)


class SmallModel(BaseModel):
    """A dual-residual backbone, a batch norm, a dropout and two linear layers."""

    def __init__(self, backbone: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.norm = nn.BatchNorm2d(16)
        self.first, self.second = nn.Linear(8, 1), nn.Linear(16, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, inputs, data_samples=None, mode='loss'):
        first, second = self.backbone(torch.stack(inputs))
        second = self.dropout(self.norm(second))
        result = self.first(first.mean((2, 3))) + self.second(second.mean((2, 3)))
        return dict(loss=(result[:, 0] - torch.stack(data_samples)).square().mean())


class Images(torch.utils.data.Dataset):
    """Eight noisy images and a number for each."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 16, 16, generator=generator)
        return dict(inputs=image, data_samples=image.mean() + index % 2)


class Recorder(Hook):
    """Notes losses, the state of the random generator and gradients that are left."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        left = [parameter.grad for parameter in runner.model.parameters()]
        loss = float(outputs['loss'].detach())
        self.seen.append((loss, torch.get_rng_state(), left))


class Bfloat16OptimWrapper(OptimWrapper):
    """MMEngine's AmpOptimWrapper refuses a machine without an accelerator."""

    def optim_context(self, model):
        return torch.autocast('cpu', dtype=torch.bfloat16)


@pytest.fixture
def train(tmp_path):
    """Trains for six iterations and returns the runner."""

    def run(
        *hooks,
        optim_wrapper=OptimWrapper,
        max_iters=6,
        batch_size=2,
        lr=0.01,
        **backbone,
    ):
        torch.manual_seed(0)
        model = SmallModel(dict(SWIN, **backbone))
        run.runner = Runner(
            model,
            str(tmp_path / uuid.uuid4().hex),
            train_dataloader=dict(
                dataset=Images(),
                sampler=dict(type='InfiniteSampler', shuffle=True),
                batch_size=batch_size,
            ),
            train_cfg=dict(by_epoch=False, max_iters=max_iters),
            optim_wrapper=optim_wrapper(torch.optim.SGD(model.parameters(), lr=lr)),
            custom_hooks=list(hooks),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False),
            ),
            log_processor=dict(by_epoch=False),
            experiment_name=uuid.uuid4().hex,
            randomness=dict(seed=0),
        )
        run.runner.train()
        return run.runner

    return run


def logged(runner, name):
    """Values of a scalar by iteration, as the visualization backends got them."""
    (path,) = Path(runner.work_dir).glob('*/vis_data/2*.json')
    lines = map(json.loads, path.read_text().splitlines())
    return {line['iter']: line[name] for line in lines if name in line}


def text_log(runner):
    (path,) = Path(runner.work_dir).glob('*/*.log')
    return path.read_text()


FLOAT = dict(arithmetic='float')


@pytest.mark.filterwarnings('ignore:float arithmetic at')
@pytest.mark.parametrize('options', [{}, FLOAT], ids=['exact', 'float'])
def test_training_is_bit_for_bit_the_same_with_the_hook_and_without(train, options):
    results = []
    for hooks in ([], [dict(type='ReversibilityHook', interval=2)]):
        recorder = Recorder()
        runner = train(recorder, *hooks, dual_residual=options)
        results.append((runner.model.state_dict(), recorder.seen, runner))
    (plain, seen, _), (measured, seen_too, runner) = results
    assert len(logged(runner, 'dr2/gradient_error')) == 6
    assert plain.keys() == measured.keys()
    assert all(torch.equal(value, measured[key]) for key, value in plain.items())
    for (loss, state, left), (loss_too, state_too, left_too) in zip(seen, seen_too):
        assert loss == loss_too
        assert torch.equal(state, state_too)
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(left, left_too))
    optimizers = [result[2].optim_wrapper.state_dict() for result in results]
    assert optimizers[0] == optimizers[1]
    assert not runner.model.backbone._forward_hooks


def test_exact_arithmetic_has_no_error_and_no_warning(train):
    runner = train(dict(type='ReversibilityHook', interval=3))
    for name in ('dr2/gradient_error', 'dr2/reconstruction_error'):
        assert logged(runner, name) == dict.fromkeys(range(1, 7), 0.0)
    assert 'WARNING - ReversibilityHook' not in text_log(runner)
    assert 'dr2/gradient_error: 0.0000' in text_log(runner)


@pytest.mark.filterwarnings('ignore:float arithmetic at')
def test_float_arithmetic_at_the_start_of_a_schedule_is_warned_of(train):
    runner = train(dict(type='ReversibilityHook', interval=5), dual_residual=FLOAT)
    gradient = logged(runner, 'dr2/gradient_error')
    assert gradient[1] > 1e-2
    assert logged(runner, 'dr2/reconstruction_error')[1] > 1e-2
    # Measured in the first and the sixth iteration.
    assert len(set(list(gradient.values())[:5])) == 1
    assert gradient[6] != gradient[5]
    warnings = [
        line for line in text_log(runner).splitlines() if 'ReversibilityHook:' in line
    ]
    assert len(warnings) == 2
    for word in ('WARNING', 'iteration 1,', '(1, 0.1)', 'backbone', 'stage 2',
                 'warn_above=0.001', "arithmetic='exact'", '(0.3, 0.7)'):  # fmt: skip
        assert word in warnings[0]


def test_float_arithmetic_where_it_is_stable_is_not_warned_of(train):
    options = dict(FLOAT, alpha=0.3, beta=0.7)
    runner = train(dict(type='ReversibilityHook', interval=5), dual_residual=options)
    for name in ('dr2/gradient_error', 'dr2/reconstruction_error'):
        assert 0 < logged(runner, name)[1] < 1e-3
    assert 'ReversibilityHook:' not in text_log(runner)


@pytest.mark.filterwarnings('ignore:float arithmetic at')
def test_a_run_stops_where_it_is_told_to_before_a_checkpoint_is_written(train):
    options = dict(FLOAT, alpha=1.0, beta=0.1)
    hook = dict(type='ReversibilityHook', interval=1, stop_above=1e-3)
    schedule = dict(
        type='Dr2CoefficientHook', start=(0.3, 0.7), end=(1.0, 0.1), end_iter=2,
        interval=2, monotone=False,
    )  # fmt: skip
    with pytest.raises(ReconstructionError, match='stop_above=0.001.*exact'):
        train(schedule, hook, dual_residual=options)
    saved = sorted(p.name for p in Path(train.runner.work_dir).glob('*.pth'))
    assert saved == ['iter_1.pth', 'iter_2.pth']


@pytest.mark.filterwarnings('ignore:float arithmetic at')
def test_the_measured_error_is_that_of_the_gradients_in_training(train):
    # One image a batch, all of it measured, at the weights of the first iteration.
    options = dict(FLOAT, alpha=0.9, beta=0.2)
    gradients = {}

    class Catcher(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            backbone = runner.model.backbone
            mode = backbone.dual_residual_options.backprop
            gradients[mode] = {}
            for name, parameter in backbone.named_parameters():
                parameter.register_hook(
                    lambda g, name=name: gradients[mode].update({name: g.clone()})
                )

    class NoBatchNorm(Hook):
        def before_train(self, runner):
            runner.model.norm.eval()

    common = dict(max_iters=1, batch_size=1, lr=0.0, drop_path_rate=0.0)
    quiet = [NoBatchNorm(), Catcher()]
    train(*quiet, dual_residual=dict(options, backprop='stored'), **common)
    train(*quiet, dual_residual=options, **common)
    difference = reference = 0.0
    for name, true in gradients['stored'].items():
        difference += float((gradients['reversible'][name] - true).square().sum())
        reference += float(true.square().sum())
    hook = dict(type='ReversibilityHook')
    runner = train(NoBatchNorm(), hook, dual_residual=options, **common)
    measured = logged(runner, 'dr2/gradient_error')[1]
    assert measured == pytest.approx((difference / reference) ** 0.5, rel=1e-3)
    assert measured > 0


def test_mixed_precision_is_measured_in_mixed_precision(train):
    seen = []
    forward = nn.Linear.forward

    def noting(layer, x):
        out = forward(layer, x)
        seen.append(out.dtype)
        return out

    def measuring(*arguments):
        seen.clear()
        with mock.patch.object(nn.Linear, 'forward', noting):
            return measure(*arguments)

    measure = reversibility_hook.measure
    hook = dict(type='ReversibilityHook', interval=10)
    with mock.patch.object(reversibility_hook, 'measure', measuring):
        runner = train(hook, optim_wrapper=Bfloat16OptimWrapper, max_iters=1)
    assert logged(runner, 'dr2/gradient_error') == {1: 0.0}
    assert set(seen) == {torch.bfloat16}


class Overflowing(OptimWrapper):
    """The loss scale of the first two iterations is too high."""

    steps = 0

    def scale_loss(self, loss):
        self.steps += 1
        return loss * (float('inf') if self.steps <= 2 else 1.0)

    def step(self, **kwargs):
        if self.steps > 2:
            super().step(**kwargs)


def test_gradients_that_are_not_finite_are_passed_over(train):
    hook = dict(type='ReversibilityHook', interval=10)
    runner = train(hook, optim_wrapper=Overflowing, max_iters=4)
    assert logged(runner, 'dr2/gradient_error') == {3: 0.0, 4: 0.0}


def test_frozen_stages_are_measured_as_far_as_gradients_reach(train):
    measure, found = reversibility_hook.measure, []

    def noting(*arguments):
        found.append(measure(*arguments))
        return found[-1]

    hook = dict(type='ReversibilityHook')
    for frozen, stages in ((-1, {1, 2}), (0, {1, 2}), (1, {2})):
        with mock.patch.object(reversibility_hook, 'measure', noting):
            train(hook, max_iters=1, frozen_stages=frozen)
        names = {f'Dr2SwinTransformer stage {number}' for number in stages}
        assert found[-1].reconstruction.keys() == names
        assert set(found[-1].reconstruction.values()) == {0.0}


class FreezeBackbone(Hook):
    priority = 'VERY_HIGH'

    def before_train(self, runner):
        runner.model.backbone.requires_grad_(False)


@pytest.mark.parametrize('frozen', [False, True])
def test_there_is_nothing_to_measure_without_a_reversible_backward(train, frozen):
    hooks = [dict(type='ReversibilityHook'), *([FreezeBackbone()] if frozen else [])]
    options = {} if frozen else dict(backprop='stored')
    runner = train(*hooks, max_iters=1, dual_residual=options)
    assert logged(runner, 'dr2/gradient_error') == {}
    assert 'nothing to measure' in text_log(runner)


def test_a_model_without_dual_residual_backbone_is_named(train):
    plain = {k: v for k, v in SWIN.items() if k != 'type'}
    with mock.patch.dict(SWIN, plain, type='mmdet.SwinTransformer', clear=True):
        with pytest.raises(ValueError, match='SmallModel.*Dr2SwinTransformer'):
            train(dict(type='ReversibilityHook'))


@pytest.mark.parametrize(
    'arguments, error, words',
    [
        (dict(interval=0), ValueError, ['interval', '0', 'at least 1']),
        (dict(interval=2.5), TypeError, ['interval', '2.5', 'whole number']),
        (dict(samples=-1), ValueError, ['samples', '-1', 'at least 1']),
        (dict(warn_above=-1e-3), ValueError, ['warn_above', '-0.001', 'at least 0']),
        (dict(stop_above='much'), TypeError, ['stop_above', "'much'", 'number']),
        (dict(stop_above=float('nan')), ValueError, ['stop_above', 'nan']),
    ],
)
def test_a_wrong_argument_is_named_when_the_hook_is_built(arguments, error, words):
    with pytest.raises(error) as caught:
        HOOKS.build(dict(type='ReversibilityHook', **arguments))
    for word in words:
        assert word in str(caught.value)


def test_the_hook_is_found_without_a_prefix_from_another_scope():
    with HOOKS.switch_scope_and_registry('mmdet') as hooks:
        hook = hooks.build(dict(type='ReversibilityHook'))
    assert isinstance(hook, ReversibilityHook)
