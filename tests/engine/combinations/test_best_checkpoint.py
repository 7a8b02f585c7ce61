"""The best checkpoint, and those that are kept, together with the coefficient hook."""

import pytest
import torch

COEFFICIENTS = dict(type='Dr2CoefficientHook', end_iter=9, interval=1)
EMA = dict(type='EMAHook', momentum=0.1)
BEST = dict(save_best='acc', rule='greater')


@pytest.mark.parametrize('hooks', [[], [EMA]], ids=['', 'with an average'])
def test_the_best_checkpoint_is_the_network_of_its_epoch(
    make_run, coefficients_in, hooks
):
    run = make_run(COEFFICIENTS, *hooks, checkpoint=BEST, scores=[0.1, 0.5, 0.3])
    assert 'best_acc_epoch_2.pth' in run.checkpoints()
    saved = run.saved('best_acc_epoch_2.pth')
    assert coefficients_in(saved['state_dict']) == run.watcher.trained[5]
    assert run.watcher.trained[5] != run.watcher.trained[8]
    assert run.outputs_of('best_acc_epoch_2.pth') == run.watcher.outputs[6]
    if hooks:
        averaged = saved['ema_state_dict']
        assert coefficients_in(averaged, 'module.') == run.watcher.trained[5]
        assert torch.equal(averaged['module.head.weight'], run.watcher.weights[5])


def test_the_best_of_iterations_is_the_network_of_its_iteration(
    make_run, coefficients_in
):
    run = make_run(
        COEFFICIENTS,
        checkpoint=dict(BEST, interval=3, by_epoch=False),
        scores=[0.1, 0.5, 0.3, 0.2],
        train_cfg=dict(type='ResumableIterLoop', max_iters=9, val_interval=2),
    )
    saved = run.saved('best_acc_iter_4.pth')['state_dict']
    assert coefficients_in(saved) == run.watcher.trained[3]


def test_published_checkpoints_keep_the_coefficients_and_lose_the_rest(
    make_run, coefficients_in
):
    checkpoint = dict(BEST, published_keys=['meta', 'state_dict'], save_last=True)
    run = make_run(COEFFICIENTS, EMA, checkpoint=checkpoint, scores=[0.1, 0.5, 0.3])
    for whole, iteration in (('epoch_3', 8), ('best_acc_epoch_2', 5)):
        (published,) = run.work_dir.glob(f'{whole}-????????.pth')
        saved = run.saved(published.name)
        assert set(saved) == {'meta', 'state_dict'}
        assert coefficients_in(saved['state_dict']) == run.watcher.trained[iteration]
        assert run.outputs_of(published.name) == run.watcher.outputs[iteration + 1]


def test_of_kept_checkpoints_the_best_stays_over_a_resumption(
    make_run, coefficients_in
):
    checkpoint = dict(BEST, max_keep_ckpts=1)
    scores = [0.1, 0.5, 0.3, 0.2, 0.6]
    first = make_run(COEFFICIENTS, checkpoint=checkpoint, scores=scores[:3], epochs=3)
    assert first.checkpoints() == ['best_acc_epoch_2.pth', 'epoch_3.pth']
    last = first.work_dir / 'epoch_3.pth'
    second = make_run(
        COEFFICIENTS,
        checkpoint=checkpoint,
        # The checkpoint precedes its validation, which is made up for.
        scores=scores[2:4],
        epochs=4,
        resume=last,
        work_dir=first.work_dir,
    )
    assert second.checkpoints() == ['best_acc_epoch_2.pth', 'epoch_4.pth']
    third = make_run(
        COEFFICIENTS,
        checkpoint=checkpoint,
        scores=scores[3:],
        epochs=5,
        resume=first.work_dir / 'epoch_4.pth',
        work_dir=first.work_dir,
    )
    assert third.checkpoints() == ['best_acc_epoch_5.pth', 'epoch_5.pth']
    saved = third.saved('best_acc_epoch_5.pth')['state_dict']
    assert coefficients_in(saved) == third.watcher.trained[14]


def test_a_best_score_of_a_metric_that_there_is_not_is_an_error(make_run):
    with pytest.raises(KeyError, match='mAP'):
        make_run(COEFFICIENTS, checkpoint=dict(save_best='mAP'))
