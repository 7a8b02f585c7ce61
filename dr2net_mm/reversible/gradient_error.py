"""Distance between two sets of gradients of the same parameters."""

import math
from typing import NamedTuple, Optional, Sequence

import torch
from torch import Tensor


class GradientError(NamedTuple):
    """Distance of gradients g from reference gradients r, over all parameters.

    Attributes:
        relative_error: ``|g - r| / |r|``, Euclidean norms of all entries together.
        mean_error: mean of ``|g_i - r_i|``.
        max_error: largest ``|g_i - r_i|``.
    """

    relative_error: float
    mean_error: float
    max_error: float


def compare_gradients(
    gradients: Sequence[Optional[Tensor]], references: Sequence[Optional[Tensor]]
) -> GradientError:
    """Compare two lists of gradients of the same parameters, in float64.

    None counts as zeros. An entry that is not finite makes all three errors nan.
    """
    squares = reference_squares = absolute = largest = 0.0
    count = 0
    for gradient, reference in zip(gradients, references):
        known = gradient if reference is None else reference
        if known is None:
            continue
        zeros = torch.zeros_like(known, dtype=torch.float64)
        g = zeros if gradient is None else gradient.double()
        r = zeros if reference is None else reference.double()
        difference = (g - r).abs()
        # An overflowing entry would make a maximum of inf and a relative error of nan.
        if not torch.isfinite(difference).all():
            return GradientError(math.nan, math.nan, math.nan)
        squares += difference.square().sum().item()
        reference_squares += r.square().sum().item()
        absolute += difference.sum().item()
        largest = max(largest, difference.max().item())
        count += difference.numel()
    if squares == 0:
        return GradientError(0.0, 0.0, 0.0)
    relative = math.sqrt(squares / reference_squares) if reference_squares else math.inf
    return GradientError(relative, absolute / count, largest)
