import pytest
from scipy import stats

from dr2net_mm.experiments.statistics import (
    Difference,
    paired_difference,
    sample,
    t_quantile,
)

FIRST = {0: 0.81, 1: 0.84, 2: 0.80, 5: 0.99}
SECOND = {0: 0.75, 1: 0.79, 2: 0.76, 7: 0.1}


def test_mean_and_deviation_are_those_computed_by_hand():
    found = sample([1.0, 2.0, 6.0])
    # Squares 4 + 1 + 9 = 14 over n - 1 = 2.
    assert found == (3.0, pytest.approx(7**0.5), 3)
    assert sample([4.0]) == (4.0, None, 1)


@pytest.mark.parametrize('degrees', range(1, 11))
def test_quantiles_are_those_of_student(degrees):
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=1e-4)


def test_beyond_the_table_the_interval_is_never_too_narrow():
    assert t_quantile(40) > stats.t.ppf(0.975, 40)


def test_a_difference_is_taken_over_the_seeds_that_both_rows_have():
    found = paired_difference(FIRST, SECOND)
    low, high = stats.ttest_1samp([0.06, 0.05, 0.04], 0).confidence_interval(0.95)
    assert found.pairs == 3
    assert found.mean - found.half_width == pytest.approx(low, abs=1e-5)
    assert found.mean + found.half_width == pytest.approx(high, abs=1e-5)


def test_without_a_common_seed_there_is_no_difference():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    assert paired_difference({0: 1.0}, {0: 0.5}) == (0.5, None, 1)


@pytest.mark.parametrize(
    'difference, verdict',
    [
        (Difference(0.05, 0.02, 3), 'better'),
        (Difference(-0.05, 0.02, 3), 'worse'),
        (Difference(0.01, 0.02, 3), 'no difference beyond the noise'),
        (Difference(0.05, 0.001, 2), 'too few seeds to tell'),
        (Difference(0.05, None, 1), 'too few seeds to tell'),
    ],
)
def test_a_verdict_needs_three_seeds_and_an_interval_without_zero(difference, verdict):
    assert difference.verdict == verdict
