"""Optimizer state, gradients and parameters that are shared out among the ranks."""

import functools
from pathlib import Path
from typing import Any, Dict, Optional
from unittest import mock

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIMIZERS
from mmengine.runner import FlexibleRunner, Runner, load_checkpoint
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from dr2net_mm.backbones import DualResidualBackbone
from dr2net_mm.backbones.base.wrapping import UnsupportedWrapperError
from dr2net_mm.engine import ReversibilityHook

BACKBONES = ('swin', 'swin3d', 'vit')


class Samples(torch.utils.data.Dataset):
    """Eight samples, as a list of which a Runner makes batches."""

    def __init__(self, ranks: Any, name: str) -> None:
        self.batches = [ranks.batch(name, seed) for seed in range(2)]

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Dict[str, torch.Tensor]:
        batch = self.batches[index // 4]
        return {key: value[index % 4] for key, value in batch.items()}


def train(
    ranks: Any,
    folder: str,
    optimizer: dict,
    backprop: str = 'reversible',
    resume: Optional[Path] = None,
) -> Runner:
    """Two epochs of two iterations of a Swin under a Runner."""
    runner = Runner(
        ranks.build('swin', dual_residual=dict(backprop=backprop)),
        str(ranks.folder / folder),
        train_dataloader=dict(
            dataset=Samples(ranks, 'swin'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=2,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(
            optimizer=optimizer,
            clip_grad=dict(max_norm=1.0),
            paramwise_cfg=dict(norm_decay_mult=0.0),
        ),
        custom_hooks=[dict(type='Dr2CoefficientHook', end_iter=4, interval=1)],
        cfg=dict(
            model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)
        ),
        launcher='pytorch',
        experiment_name=f'{folder}_{backprop}_{resume is None}',
        randomness=dict(seed=0),
        load_from=None if resume is None else str(resume),
        resume=resume is not None,
        log_level='ERROR',
    )
    runner.train()
    assert isinstance(runner.model, MMDistributedDataParallel)
    return runner


ADAMW = dict(type='AdamW', lr=1e-2, weight_decay=0.05)
SHARDED = dict(
    type='ZeroRedundancyOptimizer', optimizer_type='AdamW', lr=1e-2, weight_decay=0.05
)


def test_a_sharded_optimizer_trains_as_a_whole_one_and_resumes(ranks):
    whole = ranks.weights(train(ranks, 'whole', ADAMW).model)
    for backprop in ('reversible', 'stored'):
        runner = train(ranks, backprop, SHARDED, backprop)
        mine = ranks.weights(runner.model)
        ranks.assert_same(mine, whole)
        ranks.assert_same_everywhere(mine)
    # Each rank holds the state of some of the parameters.
    (here, there) = ranks.gathered(len(runner.optim_wrapper.optimizer.optim.state))
    assert 0 < here < len(whole) and 0 < there < len(whole)
    resumed = train(
        ranks, 'resumed', SHARDED, resume=ranks.folder / 'reversible' / 'epoch_1.pth'
    )
    assert resumed.iter == 4
    ranks.assert_same(ranks.weights(resumed.model), whole)
    backbone = resumed.model.module.backbone
    assert (backbone.alpha, backbone.beta) == pytest.approx((0.475, 0.55))


def sharded(model: nn.Module, **options: Any) -> MMFullyShardedDataParallel:
    return MMFullyShardedDataParallel(
        model, device_id=torch.device('cpu'), sync_module_states=False, **options
    )


def units(name: str, module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Policy by which modules of one kind are units of their own."""
    kind = dict(backbone=DualResidualBackbone, norm=nn.LayerNorm)[name]
    return recurse or isinstance(module, kind)


def whole_gradients(ranks: Any, model: FullyShardedDataParallel) -> dict:
    with FullyShardedDataParallel.summon_full_params(model, with_grads=True):
        return ranks.present_gradients(model)


@pytest.mark.parametrize(
    ('name', 'unit', 'strategy'),
    [
        ('swin', 'model', 'FULL_SHARD'),
        ('swin', 'backbone', 'SHARD_GRAD_OP'),
        *((name, 'backbone', 'FULL_SHARD') for name in BACKBONES),
    ],
)
def test_a_sharded_backbone_has_the_gradients_of_a_whole_one(
    ranks, name, unit, strategy
):
    policy = None if unit == 'model' else functools.partial(units, unit)
    found = {}
    for backprop in ('reversible', 'stored'):
        options = dict(dual_residual=dict(backprop=backprop), drop_path_rate=0.3)
        model = sharded(
            ranks.build(name, **options),
            auto_wrap_policy=policy,
            sharding_strategy=strategy,
        )
        whole = ranks.wrapped(ranks.build(name, **options))
        for seed in range(2):
            for kind, each in (('whole', whole), ('sharded', model)):
                torch.manual_seed(10 * seed + ranks.rank)
                ranks.gradients(each, ranks.part(name, seed))
                found[kind, backprop, seed] = (
                    whole_gradients(ranks, each)
                    if each is model
                    else ranks.present_gradients(each)
                )
    for seed in range(2):
        mine = found['sharded', 'reversible', seed]
        assert all(value is not None for value in mine.values())
        ranks.assert_same(mine, found['sharded', 'stored', seed])
        ranks.assert_close(mine, found['whole', 'reversible', seed])


def test_sharding_in_half_precision_leaves_reversible_gradients_exact(ranks):
    found = []
    for backprop in ('reversible', 'stored'):
        model = sharded(
            ranks.build('swin', dual_residual=dict(backprop=backprop)),
            mixed_precision=dict(param_dtype='bfloat16', reduce_dtype='float32'),
        )
        ranks.gradients(model, ranks.part('swin'))
        found.append(whole_gradients(ranks, model))
    ranks.assert_same(*found)


def test_a_sharded_model_trains_saves_and_loads_with_its_coefficients(ranks):
    found = []
    for backprop in ('reversible', 'stored'):
        model = sharded(ranks.build('swin', dual_residual=dict(backprop=backprop)))
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2))
        for seed in range(2):
            model.module.backbone.set_coefficients(0.9 - 0.1 * seed, 0.3)
            model.train_step(ranks.part('swin', seed), optim_wrapper=wrapper)
        found.append(model.state_dict())
    ranks.assert_same(*found)
    assert float(found[0]['backbone.dual_residual.alpha']) == 0.8
    path = str(ranks.folder / f'{ranks.rank}.pth')
    torch.save(dict(state_dict=found[0]), path)
    other = ranks.build('swin')
    load_checkpoint(other, path, strict=True)
    assert (other.backbone.alpha, other.backbone.beta) == (0.8, 0.3)


def test_a_flexible_runner_trains_with_fsdp_and_saves_whole_weights(ranks):
    # torch's offloading of state from the CPU to the CPU crashes.
    whole = dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(type='FullStateDictConfig', rank0_only=True),
        optim_state_dict_config=dict(type='FullOptimStateDictConfig', rank0_only=True),
    )
    found = []
    for backprop in ('reversible', 'stored'):
        runner = FlexibleRunner(
            ranks.build('swin', dual_residual=dict(backprop=backprop)),
            work_dir=str(ranks.folder / backprop),
            strategy=dict(
                type='FSDPStrategy',
                model_wrapper=dict(
                    type='MMFullyShardedDataParallel', device_id=torch.device('cpu')
                ),
                state_dict_cfg=whole,
            ),
            train_dataloader=dict(
                dataset=Samples(ranks, 'swin'),
                sampler=dict(type='DefaultSampler', shuffle=False),
                batch_size=2,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=ADAMW, clip_grad=dict(max_norm=1.0)),
            custom_hooks=[dict(type='Dr2CoefficientHook', end_iter=4, interval=1)],
            launcher='pytorch',
            experiment_name=f'flexible_{backprop}',
            randomness=dict(seed=0),
            log_level='ERROR',
        )
        runner.train()
        with FullyShardedDataParallel.summon_full_params(runner.model):
            found.append(ranks.weights(runner.model))
    ranks.assert_same(*found)
    model = ranks.build('swin')
    load_checkpoint(model, str(ranks.folder / 'reversible/epoch_2.pth'), strict=True)
    ranks.assert_same(ranks.weights(model), found[0])
    coefficients = model.backbone.alpha, model.backbone.beta
    assert coefficients == pytest.approx((0.475, 0.55))


def test_a_sharded_model_is_not_measured(ranks):
    model = sharded(ranks.build('swin'))
    runner = mock.Mock(model=model)
    with pytest.raises(ValueError, match='sharded.*MMDistributedDataParallel'):
        ReversibilityHook().before_train(runner)


def test_sharding_within_a_backbone_is_refused_on_every_rank(ranks):
    for backprop in ('reversible', 'stored'):
        model = sharded(
            ranks.build('swin', dual_residual=dict(backprop=backprop)),
            auto_wrap_policy=functools.partial(units, 'norm'),
        )
        with pytest.raises(UnsupportedWrapperError, match='auto_wrap_policy'):
            model(**ranks.part('swin'))


@pytest.mark.parametrize('unit', ['model', 'backbone'])
def test_parameters_that_are_hidden_are_refused_on_every_rank(ranks, unit):
    model = sharded(
        ranks.build('swin'),
        auto_wrap_policy=None if unit == 'model' else functools.partial(units, unit),
        use_orig_params=False,
    )
    with pytest.raises(UnsupportedWrapperError, match='use_orig_params=True'):
        model(**ranks.part('swin'))


# Adam makes steps of the rounding where a gradient is zero, as that of key biases is.
SGD = dict(type='SGD', lr=0.1)


def deepspeed_steps(ranks: Any, folder: Path, backprop: str, **options: Any) -> dict:
    """Weights after two steps under MMEngine's strategy for DeepSpeed."""
    from mmengine._strategy import DeepSpeedStrategy

    # MMEngine registers DeepSpeed's optimizers once for each strategy.
    for name, kind in list(OPTIMIZERS.module_dict.items()):
        if kind.__module__.startswith('deepspeed'):
            OPTIMIZERS.module_dict.pop(name)
    strategy = DeepSpeedStrategy(
        train_micro_batch_size_per_gpu=2,
        work_dir=str(folder),
        env_kwargs=dict(launcher='pytorch', randomness=dict(seed=0)),
        config=dict(zero_allow_untested_optimizer=True),
        **options,
    )
    model = ranks.build('swin', dual_residual=dict(backprop=backprop))
    engine, wrapper, *_ = strategy.prepare(
        model,
        optim_wrapper=dict(type='DeepSpeedOptimWrapper', optimizer=SGD),
        dispatch_kwargs=dict(train_micro_batch_size_per_gpu=2, epoch_length=2,
                             max_epochs=1, max_iters=2),
    )  # fmt: skip
    for seed in range(2):
        engine.train_step(ranks.part('swin', seed), optim_wrapper=wrapper)
    return ranks.weights(model)


@pytest.mark.parametrize('stage', [1, 2, 3])
def test_deepspeed_trains_in_stages_one_and_two_and_is_refused_in_three(ranks, stage):
    with mock.patch.dict('os.environ', DS_ACCELERATOR='cpu'):
        pytest.importorskip('deepspeed')
        options = dict(zero_optimization=dict(stage=stage))
        if stage == 3:
            with pytest.raises(UnsupportedWrapperError, match='stage=2'):
                deepspeed_steps(ranks, ranks.folder, 'reversible', **options)
            return
        found = [
            deepspeed_steps(ranks, ranks.folder, backprop, **options)
            for backprop in ('reversible', 'stored')
        ]
    ranks.assert_same(*found)
    model = ranks.wrapped(ranks.build('swin'))
    wrapper = build_optim_wrapper(model, dict(optimizer=SGD))
    for seed in range(2):
        model.train_step(ranks.part('swin', seed), optim_wrapper=wrapper)
    ranks.assert_close(found[0], ranks.weights(model), 1e-3)
