"""EMA, SWA and their kin together with the coefficient hook."""

import pytest
import torch

COEFFICIENTS = dict(type='Dr2CoefficientHook', end_iter=8, interval=1)

AVERAGES = {
    'exponential': dict(type='EMAHook', momentum=0.1),
    'from an epoch on': dict(type='EMAHook', momentum=0.1, begin_epoch=2),
    'from an iteration on': dict(type='EMAHook', momentum=0.1, begin_iter=5),
    'every second': dict(type='EMAHook', momentum=0.1, interval=2),
    'annealing': dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=4),
    'stochastic': dict(type='EMAHook', ema_type='StochasticWeightAverage'),
    'stochastic from an epoch on': dict(
        type='EMAHook', ema_type='StochasticWeightAverage', begin_epoch=2
    ),
    'with buffers': dict(
        type='EMAHook', ema_type='mmdet.ExpMomentumEMA', gamma=4, update_buffers=True
    ),
    'on a device': dict(type='EMAHook', momentum=0.1, device='cpu'),
}


@pytest.mark.parametrize('average', list(AVERAGES.values()), ids=list(AVERAGES))
def test_a_checkpoint_holds_the_network_that_was_validated(
    make_run, coefficients_in, average
):
    run = make_run(average, COEFFICIENTS)
    for epoch in (1, 2, 3):
        name, iteration = f'epoch_{epoch}.pth', 3 * epoch
        saved = run.saved(name)
        last = run.watcher.trained[iteration - 1]
        assert run.watcher.validated[iteration] == last
        assert coefficients_in(saved['state_dict']) == last
        assert coefficients_in(saved['ema_state_dict'], 'module.') == last
        assert run.outputs_of(name) == run.watcher.outputs[iteration]
    trained, averaged = saved['ema_state_dict'], saved['state_dict']
    assert torch.equal(trained['module.head.weight'], run.watcher.weights[-1])
    assert not torch.equal(averaged['head.weight'], trained['module.head.weight'])


@pytest.mark.parametrize(
    'kind', ['from an epoch on', 'annealing', 'stochastic', 'with buffers']
)
def test_a_resumed_run_continues_network_and_average(make_run, kind):
    average = AVERAGES[kind]
    whole = make_run(average, COEFFICIENTS)
    rest = make_run(average, COEFFICIENTS, resume=whole.work_dir / 'epoch_2.pth')
    assert list(rest.watcher.trained) == [6, 7, 8]
    for key in ('state_dict', 'ema_state_dict'):
        expected, found = (
            whole.saved('epoch_3.pth')[key],
            rest.saved('epoch_3.pth')[key],
        )
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_swa_from_the_end_point_on_is_the_mean_of_networks_at_the_end_point(make_run):
    run = make_run(
        dict(type='Dr2CoefficientHook', end_iter=3, interval=1),
        dict(type='EMAHook', ema_type='StochasticWeightAverage', begin_iter=4),
    )
    assert {run.watcher.trained[i] for i in range(3, 9)} == {(0.3, 0.7)}
    mean = torch.stack(run.watcher.weights[3:]).mean(0)
    saved = run.saved('epoch_3.pth')['state_dict']['head.weight']
    torch.testing.assert_close(saved, mean)


def test_an_average_that_begins_after_the_run_is_refused(make_run):
    with pytest.raises(AssertionError, match='begin_epoch: 4'):
        make_run(COEFFICIENTS, dict(type='EMAHook', begin_epoch=4))
    with pytest.raises(AssertionError, match='begin_epoch.*begin_iter|both'):
        make_run(COEFFICIENTS, dict(type='EMAHook', begin_epoch=2, begin_iter=2))


def test_a_checkpoint_without_an_average_can_go_on_with_one(make_run, coefficients_in):
    plain = make_run(COEFFICIENTS, epochs=3)
    rest = make_run(
        COEFFICIENTS, AVERAGES['exponential'], resume=plain.work_dir / 'epoch_2.pth'
    )
    saved = rest.saved('epoch_3.pth')
    last = plain.watcher.trained[8]
    assert coefficients_in(saved['state_dict']) == last
    assert coefficients_in(saved['ema_state_dict'], 'module.') == last


def test_a_checkpoint_with_an_average_can_go_on_without_it(make_run, coefficients_in):
    averaged = make_run(COEFFICIENTS, AVERAGES['exponential'])
    rest = make_run(COEFFICIENTS, resume=averaged.work_dir / 'epoch_2.pth')
    saved = rest.saved('epoch_3.pth')['state_dict']
    assert coefficients_in(saved) == averaged.watcher.trained[8]


def test_two_coefficient_hooks_are_refused(make_run):
    second = dict(COEFFICIENTS, end=(0.4, 0.7))
    with pytest.raises(ValueError, match='2 hooks of type Dr2CoefficientHook'):
        make_run(COEFFICIENTS, second)
