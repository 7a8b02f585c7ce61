"""All hooks in one run: those that watch change nothing, and all of it is resumed."""

import pytest
import torch

TRAINING = [
    dict(type='Dr2CoefficientHook', end_iter=5, interval=2),
    dict(type='EMAHook', momentum=0.1),
    dict(type='ResumableEarlyStoppingHook', monitor='acc', min_delta=0.01, patience=2),
]
WATCHING = [
    dict(type='ReversibilityHook', interval=2),
    dict(type='FiniteLossHook'),
    dict(type='PreemptionHook'),
    dict(type='ActivationCheckpointHook', modules='head'),
]
SETTINGS = dict(
    epochs=4,
    scores=[0.1, 0.5, 0.4, 0.3],
    checkpoint=dict(save_best='acc', rule='greater', max_keep_ckpts=3),
)


def assert_same(found, expected):
    for key in ('state_dict', 'ema_state_dict'):
        assert list(found[key]) == list(expected[key])
        for name, value in expected[key].items():
            assert torch.equal(found[key][name], value), name
    moments = [
        [state['momentum_buffer'] for state in saved['optimizer']['state'].values()]
        for saved in (found, expected)
    ]
    assert all(map(torch.equal, *moments))


@pytest.mark.parametrize(
    'order', [lambda hooks: hooks, lambda hooks: hooks[::-1]], ids=['', 'reversed']
)
def test_hooks_that_watch_change_nothing_wherever_they_stand(make_run, order):
    alone = make_run(*TRAINING, **SETTINGS)
    watched = make_run(*order([*TRAINING, *WATCHING]), **SETTINGS)
    assert watched.checkpoints() == alone.checkpoints()
    assert watched.watcher.trained == alone.watcher.trained
    assert watched.outputs_of('epoch_4.pth') == alone.outputs_of('epoch_4.pth')
    assert_same(watched.saved('epoch_4.pth'), alone.saved('epoch_4.pth'))
    assert 'dr2/gradient_error: 0.0000' in watched.log()


def test_a_run_with_all_hooks_is_resumed_to_the_same_numbers(make_run):
    whole = make_run(*TRAINING, *WATCHING, **SETTINGS)
    rest = make_run(
        *TRAINING,
        *WATCHING,
        **dict(SETTINGS, scores=[0.4, 0.3]),
        resume=whole.work_dir / 'epoch_2.pth',
    )
    # The best of the first part lies where that part was saved.
    assert rest.checkpoints() == ['epoch_3.pth', 'epoch_4.pth']
    assert_same(rest.saved('epoch_4.pth'), whole.saved('epoch_4.pth'))
