"""The two coefficients of a dual-residual network."""

import math
from typing import Tuple

#: Resolution of beta in exact arithmetic: beta = a / 2**BETA_BITS, a integer.
BETA_BITS = 16


def check_coefficients(alpha: float, beta: float) -> Tuple[float, float]:
    """Check a pair (alpha, beta) and return it as Python floats.

    Args:
        alpha: Coefficient of the pretrained residual connection, in [0, 1].
        beta: Coefficient of the added residual connection, in [0, 1].

    Raises:
        ValueError: If one of them is not a finite number in [0, 1].
        TypeError: If one of them is not a number.
    """
    checked = []
    for name, value in (('alpha', alpha), ('beta', beta)):
        if isinstance(value, (bool, str)) or not hasattr(value, '__float__'):
            raise TypeError(f'{name} must be a number in [0, 1], got {value!r}.')
        number = float(value)
        if not math.isfinite(number) or not 0.0 <= number <= 1.0:
            raise ValueError(
                f'{name} must be a finite number in [0, 1], got {value!r}. '
                'The pretrained network is (alpha, beta) = (1, 0); finetuning '
                'usually starts at (1, 0.1) and ends at about (0.3, 0.7).'
            )
        checked.append(number)
    return checked[0], checked[1]


def beta_numerator(beta: float) -> int:
    """Return the integer ``a`` of the fixed-point coefficient ``beta = a / 2**16``."""
    return int(round(beta * (1 << BETA_BITS)))
