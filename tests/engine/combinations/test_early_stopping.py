"""Early stopping together with the coefficient hook, the best checkpoint, resuming."""

import pytest
from mmengine.config import Config

from dr2net_mm.launch.resume import make_resumable

COEFFICIENTS = dict(type='Dr2CoefficientHook', end_iter=9, interval=1)
STOP = dict(
    type='ResumableEarlyStoppingHook', monitor='acc', min_delta=0.01, patience=2
)
FALLING = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05]


@pytest.mark.parametrize('kind', ['EarlyStoppingHook', 'ResumableEarlyStoppingHook'])
def test_a_run_that_stops_early_keeps_the_coefficients_it_came_to(
    make_run, coefficients_in, kind
):
    hook = dict(COEFFICIENTS, end_iter=18)
    run = make_run(hook, dict(STOP, type=kind), epochs=6, scores=FALLING)
    assert run.checkpoints() == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']
    saved = run.saved('epoch_3.pth')['state_dict']
    assert coefficients_in(saved) == run.watcher.trained[8] != (0.3, 0.7)
    assert run.outputs_of('epoch_3.pth') == run.watcher.outputs[9]
    assert 'ends after iteration 9, before (alpha, beta) is (0.3, 0.7)' in run.log()


def test_a_run_that_stops_after_the_end_point_says_nothing_of_it(make_run):
    run = make_run(COEFFICIENTS, STOP, epochs=6, scores=FALLING)
    assert run.watcher.trained[8] != (0.3, 0.7)
    assert 'before (alpha, beta) is' not in run.log()


@pytest.mark.parametrize('epoch', [1, 2])
def test_a_resumed_run_stops_where_it_would_have_stopped(make_run, epoch):
    run = make_run(COEFFICIENTS, STOP, epochs=6, scores=FALLING)
    rest = make_run(
        COEFFICIENTS,
        STOP,
        epochs=6,
        scores=FALLING[epoch - 1 :],
        resume=run.work_dir / f'epoch_{epoch}.pth',
    )
    assert rest.checkpoints()[-1] == 'epoch_3.pth'


def test_a_best_score_survives_a_resumption_with_its_checkpoint(make_run):
    # The checkpoint of a new best result is saved again after the validation.
    scores = [0.1, 0.5, 0.4, 0.3]
    best = dict(save_best='acc', rule='greater')
    run = make_run(COEFFICIENTS, STOP, epochs=3, scores=scores, checkpoint=best)
    rest = make_run(
        COEFFICIENTS,
        STOP,
        epochs=6,
        scores=scores[2:],
        checkpoint=best,
        resume=run.work_dir / 'epoch_2.pth',
    )
    assert rest.checkpoints() == ['epoch_3.pth', 'epoch_4.pth']


@pytest.mark.parametrize(
    'arguments, scores', [({}, FALLING), (dict(stopping_threshold=0.45), [0.1, 0.5])]
)
def test_a_run_that_has_stopped_does_not_go_on_when_it_is_resumed(
    make_run, arguments, scores
):
    stop = dict(STOP, **arguments)
    run = make_run(
        COEFFICIENTS,
        stop,
        epochs=6,
        scores=scores,
        checkpoint=dict(save_best='acc', rule='greater'),
    )
    last = [name for name in run.checkpoints() if name.startswith('epoch')][-1]
    rest = make_run(
        COEFFICIENTS, stop, epochs=6, scores=scores[-1:], resume=run.work_dir / last
    )
    assert not rest.watcher.trained


def test_a_run_that_has_stopped_goes_on_with_more_patience(make_run):
    run = make_run(COEFFICIENTS, STOP, epochs=6, scores=FALLING)
    rest = make_run(
        COEFFICIENTS,
        dict(STOP, patience=3),
        epochs=6,
        scores=FALLING[2:],
        resume=run.work_dir / 'epoch_3.pth',
    )
    assert rest.checkpoints() == ['epoch_4.pth']


def test_a_metric_that_there_is_not_is_an_error_where_that_is_wanted(make_run):
    with pytest.raises(RuntimeError, match='mAP is not available'):
        make_run(COEFFICIENTS, dict(STOP, monitor='mAP', strict=True))


def test_a_config_gets_the_hook_that_can_be_resumed():
    cfg = Config(
        dict(
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
            custom_hooks=[
                dict(type='EarlyStoppingHook', monitor='acc'),
                dict(type='mmengine.EarlyStoppingHook', monitor='acc'),
            ],
        )
    )
    make_resumable(cfg)
    types = [hook.type for hook in cfg.custom_hooks]
    assert types[:2] == ['ResumableEarlyStoppingHook', 'mmengine.EarlyStoppingHook']
