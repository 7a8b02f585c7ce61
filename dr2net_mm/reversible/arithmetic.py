"""The two arithmetics of a dual-residual stage.

A stage of branches F_1 … F_N carries two streams x and y (paper, Eq. 1):

    y_0 = β·x_0
    x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1}
    y_i = β·x_{i-1}

An arithmetic says how a stream is represented and how each of these operations is
done and undone. Its operations end in ``_`` where they reuse a stream's memory.
"""

import math
from typing import List, Optional, Tuple

import torch
from torch import Tensor

from . import fixed_point
from .branch import Piece
from .coefficients import BETA_BITS, beta_numerator
from .kernels import dispatch, fused
from .options import DualResidualOptions
from .ratio import Ratio
from .slices import slice_size, slices

#: First magnitude, in fixed-point units, that an int32 stream cannot hold.
LIMIT = 2.0**31

#: Growth of a stream, in bits, that its range has room for.
GROWTH_BITS = 6


class Arithmetic:
    """The operations of one step, in what both arithmetics share.

    Args:
        alpha: Coefficient α.
        beta: Coefficient β.
        dtype: Floating-point type in which streams are added up.
        branch_dtype: Type in which branches see a stream.
    """

    def __init__(
        self, alpha: float, beta: float, dtype: torch.dtype, branch_dtype: torch.dtype
    ) -> None:
        self.alpha = alpha
        self.beta = beta
        self.dtype = dtype
        self.branch_dtype = branch_dtype

    def enter(self, x0: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Return streams (x_0, y_0) and their largest magnitude over the limit."""
        raise NotImplementedError

    def view(self, x: Tensor, piece: Piece) -> Tensor:
        """Return a piece of the stream x_{i-1} as a branch sees it."""
        raise NotImplementedError

    def value(self, stream: Tensor) -> Tensor:
        """Return the stream x_i or y_i as floating-point numbers (a copy)."""
        raise NotImplementedError

    def add_(self, y: Tensor, piece: Piece, f: Tensor, x: Tensor) -> Optional[Tensor]:
        """Turn y_{i-1} into x_i on one piece.

        Returns:
            Its largest magnitude over the limit; None where there is no limit.
        """
        raise NotImplementedError

    def subtract_(self, x: Tensor, piece: Piece, f: Tensor, x_before: Tensor) -> None:
        """Turn x_i into y_{i-1} on one piece."""
        raise NotImplementedError

    def beta_step_(self, x: Tensor, keep: bool) -> Tuple[Tensor, Optional[Tensor]]:
        """Turn x_{i-1} into y_i; also return what the inverse needs, if ``keep``."""
        raise NotImplementedError

    def inverse_beta_step_(self, y: Tensor, remainder: Optional[Tensor]) -> Tensor:
        """Turn y_i into x_{i-1}."""
        raise NotImplementedError

    def output(self, stream: Tensor) -> Tensor:
        """Return the stream x_i or y_i as the layers after the stage see it."""
        return self.value(stream).to(self.branch_dtype)

    def increment(self, f: Tensor, x: Tensor) -> Tensor:
        """Compute ``F(x) + α·x`` as a new tensor.

        Multiplication and addition are separate operations: a fused one rounds
        differently at the end of a vector, and the result must not depend on how
        a stream is cut into pieces.
        """
        if self.alpha == 1:
            return x.to(self.dtype) + f
        return x.to(self.dtype).mul(self.alpha).add_(f)

    def stream_gradient_(self, gx: Tensor, gy: Optional[Tensor]) -> Tensor:
        """Compute ``α·g(x_i) + β·g(y_i)``, the gradient past the branch.

        Reuses the memory of ``gy`` where there is one.
        """
        if gy is None:
            return gx * self.alpha
        if dispatch.available(gy, gx):
            return fused.combine_(gy, gx, self.alpha, self.beta)
        for gx_slice, gy_slice in slices(gx, gy):
            gy_slice.mul_(self.beta).add_(gx_slice * self.alpha)
        return gy


class FloatArithmetic(Arithmetic):
    """Streams in floating point, as in the paper.

        inverse:  x_{i-1} = y_i / β ;  y_{i-1} = x_i − F_i(x_{i-1}) − α·x_{i-1}

    Every inverse step multiplies the rounding error by up to 1/|λ|, λ² = αλ + β.
    """

    def enter(self, x0: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Return streams (x_0, y_0) and their largest magnitude over the limit."""
        x = x0.detach().to(self.dtype, copy=True, memory_format=torch.contiguous_format)
        # Only infinity is out of range.
        largest = magnitude(x) / torch.finfo(self.dtype).max
        return x, x * self.beta, largest

    def view(self, x: Tensor, piece: Piece) -> Tensor:
        """Return a piece of the stream x_{i-1} as a branch sees it (a copy)."""
        return piece.read(x).to(self.branch_dtype, copy=True)

    def value(self, stream: Tensor) -> Tensor:
        """Return the stream x_i or y_i in full precision (a copy)."""
        return stream.clone()

    def add_(self, y: Tensor, piece: Piece, f: Tensor, x: Tensor) -> Optional[Tensor]:
        """Turn y_{i-1} into x_i on one piece; there is no limit to its magnitude."""
        piece.add_(y, self.increment(f, x))
        return None

    def subtract_(self, x: Tensor, piece: Piece, f: Tensor, x_before: Tensor) -> None:
        """Turn x_i into y_{i-1} on one piece."""
        piece.add_(x, self.increment(f, x_before).neg_())

    def beta_step_(self, x: Tensor, keep: bool) -> Tuple[Tensor, Optional[Tensor]]:
        """Compute ``y_i = β·x_{i-1}`` in place; the inverse needs nothing."""
        return x.mul_(self.beta), None

    def inverse_beta_step_(self, y: Tensor, remainder: Optional[Tensor]) -> Tensor:
        """Compute ``x_{i-1} = y_i / β`` in place."""
        return y.div_(self.beta)


class ExactArithmetic(Arithmetic):
    """Streams as int32 fixed-point numbers, reconstructed bit for bit.

    With the integers X_i in units of 2^-s_i and Y_i in those of X_{i+1}, to which it
    is added:

        X_i = round((F_i(x) + α·x)·2^s_i) + Y_{i-1},   x = X_{i-1}·2^-s_{i-1}
        Y_i = floor(ρ_i·X_{i-1}),   ρ_i = β·2^(s_{i+1} − s_{i-1})
        remainder  r_i = X_{i-1} − ceil(Y_i / ρ_i)

    Integer addition is exactly invertible; Y_i and r_i together determine X_{i-1}.
    Rounding is straight-through for the gradient. All s_i are equal unless α + β > 1
    makes the streams grow, see :func:`fraction_bits_of_steps`.

    Args:
        bits: s_{i-1}, s_i and s_{i+1}.
    """

    def __init__(
        self,
        alpha: float,
        beta: float,
        dtype: torch.dtype,
        branch_dtype: torch.dtype,
        bits: Tuple[int, int, int],
    ) -> None:
        numerator = beta_numerator(beta)
        super().__init__(alpha, numerator / (1 << BETA_BITS), dtype, branch_dtype)
        self.scale_before = 2.0 ** bits[0]
        self.scale = 2.0 ** bits[1]
        self.ratio = Ratio(numerator, BETA_BITS + bits[0] - bits[2])

    def enter(self, x0: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Return streams (X_0, Y_0) and their largest magnitude over the limit."""
        x0 = x0.detach().contiguous()
        x = torch.empty_like(x0, dtype=torch.int32)
        y = torch.empty_like(x)
        if dispatch.available(x, x0):
            return x, y, fused.enter_(x, y, x0, self.scale, self.ratio)
        largest = magnitude(x0)
        for x0_slice, x_slice, y_slice in slices(x0, x, y):
            x_slice.copy_(x0_slice.to(self.dtype).mul(self.scale).round_())
            y_slice.copy_(fixed_point.times(x_slice, self.ratio))
        return x, y, largest * (self.scale / LIMIT)

    def view(self, x: Tensor, piece: Piece) -> Tensor:
        """Return a piece of the stream x_{i-1} as a branch sees it."""
        if dispatch.available(x) and self.dtype == torch.float32:
            factor = 1.0 / self.scale_before
            return fused.read(x, piece.index, factor, self.branch_dtype)
        view = piece.read(x).to(self.dtype).mul_(1.0 / self.scale_before)
        return view.to(self.branch_dtype)

    def value(self, stream: Tensor) -> Tensor:
        """Return the stream x_i or y_i as floating-point numbers."""
        return stream.to(self.dtype).mul_(1.0 / self.scale)

    def _integer_increment(self, f: Tensor, x: Tensor) -> Tensor:
        return self.increment(f, x).mul_(self.scale).round_()

    def add_(self, y: Tensor, piece: Piece, f: Tensor, x: Tensor) -> Optional[Tensor]:
        """Turn Y_{i-1} into X_i on one piece.

        Returns:
            Its largest magnitude over the limit.
        """
        if dispatch.available(y, f, x):
            return fused.increment_(y, piece.index, f, x, self.alpha, self.scale)
        increment = self._integer_increment(f, x)
        before = piece.read(y)
        after = before + increment.to(torch.int32)
        # In floating point, which does not wrap around.
        largest = magnitude(increment.add_(before)) / LIMIT
        piece.write_(y, after)
        return largest

    def subtract_(self, x: Tensor, piece: Piece, f: Tensor, x_before: Tensor) -> None:
        """Turn X_i into Y_{i-1} on one piece."""
        if dispatch.available(x, f, x_before):
            coefficients = self.alpha, self.scale
            fused.increment_(x, piece.index, f, x_before, *coefficients, subtract=True)
            return
        piece.add_(x, self._integer_increment(f, x_before).to(torch.int32).neg_())

    def beta_step_(self, x: Tensor, keep: bool) -> Tuple[Tensor, Optional[Tensor]]:
        """Compute Y_i in X_{i-1}'s memory; pack the remainders if ``keep``."""
        if self.ratio.numerator == 0:
            return torch.zeros_like(x), (x if keep else None)
        return x, fixed_point.step_(x, self.ratio, slice_size(x), keep)

    def inverse_beta_step_(self, y: Tensor, remainder: Optional[Tensor]) -> Tensor:
        """Compute X_{i-1} in the memory of Y_i."""
        if self.ratio.numerator == 0:
            assert remainder is not None  # X_{i-1} itself.
            return remainder
        return fixed_point.inverse_step_(y, remainder, self.ratio, slice_size(y))


def fraction_bits_of_steps(
    fraction_bits: int, alpha: float, beta: float, steps: int
) -> List[int]:
    """Return the fraction bits s_0 … s_N of the streams of a stage of N branches.

    Without the branches, a stream obeys ``x_i = α·x_{i-1} + β·x_{i-2}``. Where α + β
    exceeds 1 that grows exponentially, at (1, 1) by 1.6 a branch: 3·10^7 after the
    36 branches of Swin-L's third stage, far beyond 32 bits. So whenever the growth
    exceeds 2**GROWTH_BITS, the unit of the stream doubles with every doubling of it.
    """
    before, now = beta, 1.0
    bits = []
    for _ in range(steps + 1):
        excess = math.ceil(math.log2(max(now, 1.0))) - GROWTH_BITS
        bits.append(fraction_bits - max(0, excess))
        before, now = beta * now, alpha * now + before
    return bits


def make_arithmetics(
    options: DualResidualOptions,
    alpha: float,
    beta: float,
    steps: int,
    dtype: torch.dtype,
    branch_dtype: torch.dtype,
) -> List[Arithmetic]:
    """Make the arithmetic of a stage's entry (first) and of each of its steps."""
    if options.arithmetic == 'float':
        return [FloatArithmetic(alpha, beta, dtype, branch_dtype)] * (steps + 1)
    bits = fraction_bits_of_steps(options.fraction_bits, alpha, beta, steps)
    # Before the entry there is x_0 itself; after the last step nothing is added.
    triples = zip([bits[0], *bits], bits, [*bits[1:], bits[-1]])
    return [
        ExactArithmetic(alpha, beta, dtype, branch_dtype, triple) for triple in triples
    ]


def magnitude(values: Tensor) -> Tensor:
    """Return the largest absolute value, NaN if there is one, on the device."""
    if not values.numel():
        return values.new_zeros(())
    low, high = torch.aminmax(values)
    return torch.maximum(high, -low)
