"""Means, deviations and paired differences of a few seeds."""

import math
from typing import Mapping, NamedTuple, Optional, Sequence

#: 0.975 quantiles of Student's t by degrees of freedom, from 1 on.
_T_QUANTILES = (
    12.7062,
    4.3027,
    3.1824,
    2.7764,
    2.5706,
    2.4469,
    2.3646,
    2.3060,
    2.2622,
    2.2281,
)

#: Fewer seeds decide nothing.
ENOUGH_SEEDS = 3


class Sample(NamedTuple):
    """Mean and standard deviation of seeds.

    Attributes:
        mean: Their mean.
        deviation: ``sqrt(Σ (x - mean)² / (n - 1))``; None of one seed.
        seeds: How many.
    """

    mean: float
    deviation: Optional[float]
    seeds: int


class Difference(NamedTuple):
    """Mean difference of pairs with the same seed, and its 95 % confidence interval.

    Attributes:
        mean: Mean of ``first - second``.
        half_width: ``t · s / sqrt(n)`` with Student's t of n - 1 degrees of freedom and
            the standard deviation s of the differences; None of one pair.
        pairs: Number n of pairs.
    """

    mean: float
    half_width: Optional[float]
    pairs: int

    @property
    def verdict(self) -> str:
        """What the interval says, or that there are too few seeds to say it."""
        if self.pairs < ENOUGH_SEEDS or self.half_width is None:
            return 'too few seeds to tell'
        if self.mean - self.half_width > 0:
            return 'better'
        if self.mean + self.half_width < 0:
            return 'worse'
        return 'no difference beyond the noise'


def sample(values: Sequence[float]) -> Sample:
    """Return mean and deviation of at least one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Sample(mean, None, len(values))
    squares = sum((value - mean) ** 2 for value in values)
    return Sample(mean, math.sqrt(squares / (len(values) - 1)), len(values))


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float]
) -> Optional[Difference]:
    """Return the difference of two rows over their common seeds; None without one.

    Args:
        first: Values by seed.
        second: Values by seed, which are subtracted.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    found = sample([first[seed] - second[seed] for seed in seeds])
    if found.deviation is None:
        return Difference(found.mean, None, 1)
    width = t_quantile(found.seeds - 1) * found.deviation / math.sqrt(found.seeds)
    return Difference(found.mean, width, found.seeds)


def t_quantile(degrees: int) -> float:
    """Return the 0.975 quantile of Student's t; beyond the table that of its last row.

    Raises:
        ValueError: If there are no degrees of freedom.
    """
    if degrees < 1:
        raise ValueError(f'degrees of freedom are {degrees}; at least 1 is needed')
    return _T_QUANTILES[min(degrees, len(_T_QUANTILES)) - 1]
