"""The β-step of fixed-point streams, and its exact inverse.

The step multiplies an int32 number by a ratio ``ρ = a / 2**b``, with the integers
``1 ≤ a ≤ 2**16`` and ``16 ≤ b``, ``a ≤ 2**b``:

    y = floor(ρ·x)

loses information: the numbers with the same y are ``x_min(y) … x_min(y) + m − 1``,
``x_min(y) = ceil(y / ρ)``, where m is at most ``ceil(1 / ρ)``. The remainder
``r = x − x_min(y)`` is kept in 0, 1, 2, 4, 8 or 16 bits (information theory asks for
log2(1/ρ) of them). Since ``ρ·x_min − y`` is in [0, ρ), it is also

    r = floor((ρ·x − y) / ρ)

All of it is done in float64, where it is exact: ``a·x`` is below 2**47, so that the
product with the dyadic ρ has no rounding; and a quotient by ρ that is no integer is at
least 2**-16 away from one, while the computed one is off by at most 2**-21.
"""

from typing import Optional

import torch
from torch import Tensor

from .kernels import dispatch, fused
from .packing import pack, packed_dtype, packed_size, unpack
from .ratio import Ratio

#: Between the error of the computed quotient and the gap between quotients.
_MARGIN = 2.0**-18

#: The same for remainders, which are below 2**16, as a share of them.
_SHARE = 2.0**-40

_INT32_MAX = 2.0**31 - 1


def _product(x: Tensor, ratio: Ratio) -> Tensor:
    """Compute ``ρ·x`` of an int32 tensor without rounding, as float64."""
    return x.to(torch.float64).mul_(ratio.value)


def times(x: Tensor, ratio: Ratio) -> Tensor:
    """Compute ``floor(ρ·x)`` of an int32 tensor, as float64."""
    return _product(x, ratio).floor_()


def smallest_preimage_(y: Tensor, ratio: Ratio) -> Tensor:
    """Compute ``ceil(y / ρ)`` of a float64 tensor of integers, in place."""
    quotient = y.mul_((1 << ratio.bits) / ratio.numerator)
    return quotient.sub_(_MARGIN).ceil_()


def remainder_(fraction: Tensor, ratio: Ratio) -> Tensor:
    """Compute ``floor((ρ·x − y) / ρ)`` as int32; the float64 argument is used up."""
    # The share makes a quotient that is an integer at least as large as that.
    quotient = fraction.mul_((1 << ratio.bits) / ratio.numerator * (1 + _SHARE))
    return quotient.to(torch.int32)


def step_(x: Tensor, ratio: Ratio, size: int, keep: bool) -> Optional[Tensor]:
    """Replace x by ``floor(ρ·x)`` and return the packed remainders.

    Args:
        x: Contiguous int32 tensor, changed in place.
        ratio: ρ, with a numerator of at least 1.
        size: Elements handled at a time, a multiple of 8.
        keep: Whether the remainders are wanted.

    Returns:
        The remainders, or None where there are none (ρ = 1) or none are wanted.
    """
    if ratio.is_one:
        return None
    flat = x.view(-1)
    width = ratio.remainder_width
    packed = None
    if keep:
        packed = torch.empty(
            packed_size(flat.numel(), width),
            dtype=packed_dtype(width),
            device=x.device,
        )
    if dispatch.available(x) and fused.takes_ratio(ratio):
        fused.step_(x, packed, ratio, size)
        return packed
    for start in range(0, flat.numel(), size):
        part = flat[start : start + size]
        product = _product(part, ratio)
        y = product.floor()
        part.copy_(y)
        if packed is None:
            continue
        first = packed_size(start, width)
        stored = pack(remainder_(product.sub_(y), ratio), width)
        packed[first : first + stored.numel()] = stored
    return packed


def inverse_step_(
    y: Tensor, packed: Optional[Tensor], ratio: Ratio, size: int
) -> Tensor:
    """Undo :func:`step_` in place, given what it returned.

    A ``y`` that is no value of the forward pass (after a branch that is not
    deterministic) gives a number in range instead of wrapping around.
    """
    if ratio.is_one:
        return y
    if packed is None:
        raise ValueError('the remainders of this step were not kept.')
    if dispatch.available(y) and fused.takes_ratio(ratio):
        fused.inverse_step_(y, packed, ratio, size)
        return y
    flat = y.view(-1)
    width = ratio.remainder_width
    for start in range(0, flat.numel(), size):
        part = flat[start : start + size]
        first = packed_size(start, width)
        stored = packed[first : first + packed_size(part.numel(), width)]
        x = smallest_preimage_(part.to(torch.float64), ratio)
        x.add_(unpack(stored, width, part.numel()))
        part.copy_(x.clamp_(-_INT32_MAX, _INT32_MAX))
    return y
