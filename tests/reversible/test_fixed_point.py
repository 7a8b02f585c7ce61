"""The β-step against Python's integers."""

import pytest
import torch

from dr2net_mm.reversible.fixed_point import (
    Ratio,
    inverse_step_,
    smallest_preimage_,
    step_,
    times,
)

EDGE = 2**31 - 1
NUMERATORS = [1, 2, 3, 655, 6554, 22938, 32768, 45875, 65534, 65535, 65536]


def numbers() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(-EDGE, EDGE, (3000,), generator=generator)
    small = torch.arange(-300, 300)
    edges = torch.tensor([-EDGE, -EDGE + 1, EDGE - 1, EDGE])
    return torch.cat([drawn, small, edges]).to(torch.int32)


@pytest.mark.parametrize('bits', [16, 17, 18])
@pytest.mark.parametrize('numerator', NUMERATORS)
def test_step_is_the_floor_of_the_exact_product(numerator, bits):
    x = numbers()
    expected = [(value * numerator) >> bits for value in x.tolist()]
    assert times(x, Ratio(numerator, bits)).tolist() == expected


@pytest.mark.parametrize('bits', [16, 17, 18])
@pytest.mark.parametrize('numerator', NUMERATORS)
def test_smallest_preimage_is_the_ceiling_of_the_exact_quotient(numerator, bits):
    y = torch.unique(times(numbers(), Ratio(numerator, bits)))
    expected = [-((-value << bits) // numerator) for value in map(int, y.tolist())]
    assert smallest_preimage_(y, Ratio(numerator, bits)).tolist() == expected


@pytest.mark.parametrize('numerator', [6554, 65536, 40000, 1])
@pytest.mark.parametrize('size', [8, 1 << 20])
def test_inverse_gives_the_number_back_from_value_and_remainder(numerator, size):
    ratio = Ratio(numerator, 16)
    x = numbers().view(2, -1)
    stream = x.clone()
    packed = step_(stream, ratio, size, keep=True)
    if numerator == 65536:
        assert packed is None
    else:
        assert packed.nbytes <= x.numel() * ratio.remainder_width / 8 + 8
    assert torch.equal(inverse_step_(stream, packed, ratio, size), x)


def test_remainders_take_as_many_bits_as_the_coefficient_asks_for():
    widths = {0.5: 1, 0.7: 1, 0.3: 2, 0.1: 4, 0.01: 8, 0.001: 16, 1.0: 0}
    for beta, width in widths.items():
        assert Ratio(round(beta * 65536), 16).remainder_width == width


def test_a_value_that_no_forward_pass_gave_stays_in_range():
    ratio = Ratio(655, 16)
    y = torch.full((16,), EDGE, dtype=torch.int32)
    packed = torch.zeros(16, dtype=torch.uint8)
    assert inverse_step_(y, packed, ratio, 8).tolist() == [EDGE] * 16
