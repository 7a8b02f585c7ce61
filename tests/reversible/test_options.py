import math

import pytest

from dr2net_mm.reversible import DualResidualOptions, check_coefficients


@pytest.mark.parametrize('alpha, beta', [(0, 0), (1, 1), (1.0, 0.1), (0.3, 0.7)])
def test_coefficients_in_the_unit_square_are_taken(alpha, beta):
    assert check_coefficients(alpha, beta) == (float(alpha), float(beta))


@pytest.mark.parametrize('bad', [-0.01, 1.01, math.nan, math.inf, -math.inf])
def test_a_coefficient_out_of_range_is_named(bad):
    with pytest.raises(ValueError, match=r'alpha must be .* \[0, 1\]'):
        check_coefficients(bad, 0.1)
    with pytest.raises(ValueError, match=r'beta must be .* \[0, 1\]'):
        check_coefficients(1.0, bad)


@pytest.mark.parametrize('bad', ['0.1', None, True, [0.1]])
def test_a_coefficient_that_is_no_number_is_refused(bad):
    with pytest.raises(TypeError, match='must be a number'):
        check_coefficients(1.0, bad)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arithmetic='fixed'), "one of .*'exact'.* got 'fixed'"),
        (dict(backprop='none'), "one of .*'stored'.* got 'none'"),
        (dict(fusion='sum'), "one of .*'concat'.* got 'sum'"),
        (dict(fraction_bits=40), 'from 1 to 24, got 40'),
        (dict(chunk=0), 'positive number of tokens, got 0'),
        (dict(chunk='all'), "got 'all'"),
        (dict(beta=0, arithmetic='float'), 'cannot be reversed'),
        (dict(verify=True, arithmetic='float'), "needs arithmetic='exact'"),
        (dict(alpha=2), r'alpha must be .* got 2'),
    ],
)
def test_an_option_out_of_range_is_refused_with_what_is_possible(options, message):
    with pytest.raises(ValueError, match=message):
        DualResidualOptions(**options)


def test_an_unknown_option_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="no option 'aplha'; its options are alpha"):
        DualResidualOptions.from_dict(dict(aplha=1))


def test_beta_zero_is_possible_in_exact_and_in_stored_arithmetic():
    assert DualResidualOptions(beta=0).beta == 0
    assert DualResidualOptions(beta=0, arithmetic='float', backprop='stored').beta == 0


def test_float_arithmetic_at_its_inaccurate_end_warns():
    with pytest.warns(UserWarning, match='gradient_error.py'):
        DualResidualOptions.from_dict(dict(arithmetic='float'))
