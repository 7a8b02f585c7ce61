import math

import pytest

from dr2net_mm.reversible.schedule import ORDERS, POLICIES, CoefficientSchedule


def near(alpha, beta):
    return pytest.approx((alpha, beta), abs=1e-9)


def test_linear_schedule_moves_both_coefficients_in_equal_steps():
    schedule = CoefficientSchedule(end_step=10)
    assert schedule.coefficients(1) == near(0.93, 0.16)
    assert schedule.coefficients(5) == near(0.65, 0.40)
    assert schedule.coefficients(9) == near(0.37, 0.64)


def test_exponential_schedule_starts_slowly_and_ends_fast():
    schedule = CoefficientSchedule(end_step=10, policy='exponential')
    # w(0.5) = (sqrt(10) - 1) / 9 = 0.24025307
    assert schedule.coefficients(5) == near(0.8318228487, 0.2441518440)


def test_logarithmic_schedule_starts_fast_and_ends_slowly():
    schedule = CoefficientSchedule(end_step=10, policy='logarithmic')
    # w(0.5) = log10(5.5) = 0.74036269
    assert schedule.coefficients(5) == near(0.4817461174, 0.5442176137)


def test_values_are_held_between_updates():
    schedule = CoefficientSchedule(end_step=10, interval=2)
    assert schedule.coefficients(2) == near(0.86, 0.22)
    assert schedule.coefficients(3) == schedule.coefficients(2)
    assert schedule.coefficients(4) == near(0.72, 0.34)


def test_interval_that_does_not_divide_the_end_step_reaches_the_end_on_time():
    schedule = CoefficientSchedule(end_step=10, interval=4)
    assert schedule.coefficients(8) == near(0.44, 0.58)
    assert schedule.coefficients(9) == schedule.coefficients(8)
    assert schedule.coefficients(10) == (0.3, 0.7)


def test_interval_beyond_the_end_step_makes_one_jump():
    schedule = CoefficientSchedule(end_step=3, interval=10)
    assert schedule.change_points() == [(0, 1.0, 0.1), (3, 0.3, 0.7)]


def test_alpha_first_finishes_alpha_at_half_way_and_then_moves_beta():
    schedule = CoefficientSchedule(end_step=20, order='alpha_first')
    assert schedule.coefficients(5) == near(0.65, 0.1)
    assert schedule.coefficients(10) == (0.3, 0.1)
    assert schedule.coefficients(15) == near(0.3, 0.4)


def test_beta_first_finishes_beta_at_half_way_and_then_moves_alpha():
    schedule = CoefficientSchedule(end_step=20, order='beta_first')
    assert schedule.coefficients(5) == near(1.0, 0.4)
    assert schedule.coefficients(10) == (1.0, 0.7)
    assert schedule.coefficients(15) == near(0.65, 0.7)


def test_ordered_schedule_bends_each_half_by_the_policy():
    schedule = CoefficientSchedule(
        end_step=20, order='alpha_first', policy='exponential'
    )
    assert schedule.coefficients(5) == near(0.8318228487, 0.1)
    assert schedule.coefficients(15) == near(0.3, 0.2441518440)


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('policy', POLICIES)
@pytest.mark.parametrize('interval', [1, 2, 7, 97])
def test_every_schedule_is_exact_at_its_ends_and_never_turns_back(
    order, policy, interval
):
    start = (0.9, 0.1) if order == 'unit_gain' else (1.0, 0.1)
    schedule = CoefficientSchedule(
        start, end_step=97, interval=interval, order=order, policy=policy
    )
    values = [schedule.coefficients(step) for step in range(200)]
    assert values[0] == start
    assert values[97:] == [(0.3, 0.7)] * 103
    for (alpha, beta), (next_alpha, next_beta) in zip(values, values[1:]):
        assert 0.3 <= next_alpha <= alpha <= 1.0
        assert 0.1 <= beta <= next_beta <= 0.7


def test_path_to_the_pretrained_architecture_is_allowed_when_asked_for():
    schedule = CoefficientSchedule(end=(1.0, 0.0), end_step=4, monotone=False)
    assert schedule.coefficients(2) == near(1.0, 0.05)
    assert schedule.coefficients(4) == (1.0, 0.0)


def test_curved_policies_can_start_from_zero():
    schedule = CoefficientSchedule(
        start=(1.0, 0.0), end=(0.0, 1.0), end_step=2, policy='exponential'
    )
    assert schedule.coefficients(1) == near(0.7597469266, 0.2402530734)


def test_vanilla_finetuning_never_changes_a_coefficient():
    schedule = CoefficientSchedule(end=(1.0, 0.1), end_step=10)
    assert {schedule.coefficients(step) for step in range(20)} == {(1.0, 0.1)}
    assert schedule.change_points() == [(0, 1.0, 0.1)]


def test_change_points_are_the_start_and_the_updates():
    schedule = CoefficientSchedule(
        start=(1.0, 0.0), end=(0.5, 0.5), end_step=10, interval=4
    )
    steps, alphas, betas = zip(*schedule.change_points())
    assert steps == (0, 4, 8, 10)
    assert alphas == pytest.approx((1.0, 0.8, 0.6, 0.5))
    assert betas == pytest.approx((0.0, 0.2, 0.4, 0.5))


def test_coefficients_of_a_step_do_not_depend_on_earlier_calls():
    schedule = CoefficientSchedule(end_step=1000, interval=3)
    forwards = [schedule.coefficients(step) for step in range(1000)]
    backwards = [schedule.coefficients(step) for step in reversed(range(1000))]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize(
    'arguments, error, words',
    [
        (dict(start=(1.2, 0.1)), ValueError, ['start', '1.2', '[0, 1]']),
        (dict(end=(0.3, -0.1)), ValueError, ['end', '-0.1', '[0, 1]']),
        (dict(end=(0.3, math.nan)), ValueError, ['end', 'beta', 'nan', '[0, 1]']),
        (dict(end=(math.inf, 0.7)), ValueError, ['end', 'alpha', 'inf', '[0, 1]']),
        (dict(start=1.0), TypeError, ['start', '1.0', '(alpha, beta)']),
        (dict(start=(1.0, 0.1, 0.2)), TypeError, ['start', '0.2', '(alpha, beta)']),
        (dict(end=('a', 0.7)), TypeError, ['end', "'a'"]),
        (dict(end_step=0), ValueError, ['end_step', '0', 'at least 1']),
        (dict(end_step=2.5), TypeError, ['end_step', '2.5', 'whole number']),
        (dict(interval=0), ValueError, ['interval', '0', 'at least 1']),
        (dict(interval=True), TypeError, ['interval', 'True', 'whole number']),
        (dict(order='both'), ValueError, ['order', 'both', 'beta_first']),
        (dict(policy='cosine'), ValueError, ['policy', 'cosine', 'exponential']),
        (dict(start=(0.2, 0.1)), ValueError, ['alpha', '0.2', '0.3', 'monotone=False']),
        (dict(end=(0.3, 0.0)), ValueError, ['beta', '0.1', '0.0', 'monotone=False']),
    ],
)
def test_wrong_argument_is_named_with_its_range_and_remedy(arguments, error, words):
    with pytest.raises(error) as caught:
        CoefficientSchedule(**{'end_step': 10, **arguments})
    for word in words:
        assert word in str(caught.value)


def test_negative_step_is_refused():
    with pytest.raises(ValueError, match='step is -1'):
        CoefficientSchedule(end_step=10).coefficients(-1)


def test_unit_gain_keeps_alpha_at_one_minus_beta_all_along():
    for policy in POLICIES:
        schedule = CoefficientSchedule(
            (0.9, 0.1), (0.3, 0.7), end_step=7, order='unit_gain', policy=policy
        )
        pairs = [schedule.coefficients(step) for step in range(9)]
        assert all(alpha == 1 - beta for alpha, beta in pairs[1:7])
        assert (pairs[0], pairs[7]) == ((0.9, 0.1), (0.3, 0.7))
        assert [beta for _, beta in pairs] == sorted(beta for _, beta in pairs)


def test_unit_gain_goes_to_the_pretrained_network_where_falling_beta_is_meant():
    schedule = CoefficientSchedule(
        (0.9, 0.1), (1, 0), end_step=4, order='unit_gain', monotone=False
    )
    assert schedule.coefficients(2) == near(0.95, 0.05)
    assert schedule.coefficients(4) == (1.0, 0.0)


@pytest.mark.parametrize(
    'start, end, named',
    [((1.0, 0.1), (0.3, 0.7), 'start'), ((0.9, 0.1), (0.4, 0.7), 'end')],
)
def test_unit_gain_refuses_an_end_beside_its_line_and_names_the_nearest(
    start, end, named
):
    with pytest.raises(ValueError, match=rf'{named} is .*; give {named}=\(0\.'):
        CoefficientSchedule(start, end, end_step=4, order='unit_gain')
