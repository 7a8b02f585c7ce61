import pytest
from mmengine.config import Config

from dr2net_mm.errors import UserError
from dr2net_mm.launch.parallel_checks import check_parallel

SWIN = dict(type='Dr2SwinTransformer')
FSDP = dict(type='MMFullyShardedDataParallel')


def config(backbone=SWIN, **changes):
    # Below a wrapper, as in a semi-supervised or test-time model.
    return Config(dict(model=dict(detector=dict(backbone=backbone)), **changes))


@pytest.mark.parametrize(
    'changes, words',
    [
        (
            dict(model_wrapper_cfg=dict(type='DataParallel')),
            ["'DataParallel'", 'dist_train.sh', 'ZeroRedundancyOptimizer'],
        ),
        (
            dict(model_wrapper_cfg=dict(FSDP, use_orig_params=False)),
            ['use_orig_params=False', 'MMFullyShardedDataParallel', 'True'],
        ),
        (
            dict(
                strategy=dict(
                    type='FSDPStrategy', model_wrapper=dict(use_orig_params=False),
                    state_dict_cfg='full',
                )
            ),
            ['use_orig_params=True'],
        ),
        (
            dict(strategy=dict(type='ColossalAIStrategy')),
            ['ColossalAIStrategy', 'MMDistributedDataParallel'],
        ),
        (
            dict(strategy=dict(type='DeepSpeedStrategy',
                               zero_optimization=dict(stage=3))),
            ['stage=3', 'stage 1 or 2', "backprop='stored'"],
        ),
        (
            dict(strategy=dict(type='mmengine.DeepSpeedStrategy',
                               config=dict(zero_optimization=dict(stage=3)))),
            ['stage=3'],
        ),
    ],
)  # fmt: skip
def test_what_does_not_work_is_said_before_anything_is_built(changes, words):
    with pytest.raises(UserError) as caught:
        check_parallel(config(**changes))
    for word in ['Dr2SwinTransformer', *words]:
        assert word in str(caught.value)
    # Without a backbone of ours it is none of our business.
    check_parallel(config(dict(type='SwinTransformer'), **changes))


@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel')),
        dict(model_wrapper_cfg=FSDP),
        dict(strategy=dict(type='FSDPStrategy', state_dict_cfg='full')),
        dict(strategy=dict(type='DeepSpeedStrategy', config='ds.json')),
        dict(strategy=dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=2))),
        dict(
            backbone=dict(SWIN, dual_residual=dict(backprop='stored')),
            strategy=dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=3)),
        ),
    ],
)
def test_what_works_is_let_through(changes):
    check_parallel(config(**changes))


@pytest.mark.parametrize('kind', ['FSDPStrategy', 'mmengine.DeepSpeedStrategy'])
def test_a_strategy_that_cannot_be_resumed_says_so(kind):
    cfg = config(strategy=dict(type=kind, state_dict_cfg='full'))
    check_parallel(cfg)
    with pytest.raises(UserError) as caught:
        check_parallel(cfg, resumes=True)
    for word in ('--resume', kind, 'ZeroRedundancyOptimizer'):
        assert word in str(caught.value)
    check_parallel(config(), resumes=True)


def test_checkpoints_in_slices_are_refused():
    for strategy in (dict(), dict(state_dict_cfg='local')):
        with pytest.raises(UserError, match="'local'.*'full'"):
            check_parallel(config(strategy=dict(type='FSDPStrategy', **strategy)))
