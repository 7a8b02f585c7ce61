"""Elementwise work on streams in one pass over memory, on CUDA devices.

Each operation does what the torch code at its place of use does, with the same bits,
in one Triton kernel. :mod:`dispatch` says whether it can.
"""

from functools import lru_cache
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..ratio import Ratio

#: Elements of one program of a kernel.
BLOCK = 1024

#: Bits of a fraction in the inverse β-step.
FRACTION_BITS = 48

#: Largest ``bits`` of a ratio with which the products in the β-step fit 63 bits.
MAX_RATIO_BITS = 30


@lru_cache(maxsize=None)
def _kernel(name: str) -> Any:
    from . import triton_kernels as kernels

    return getattr(kernels, name)


def _launch(name: str, programs: Tuple[int, ...], *args: Any, **constants: Any) -> None:
    """Run a kernel on the device of its first argument."""
    with torch.cuda.device_of(args[0]):
        _kernel(name)[programs](*args, BLOCK=BLOCK, **constants)


def _blocks(elements: int) -> Tuple[int]:
    return (-(-elements // BLOCK),)


def _place(stream: Tensor, index: Any) -> Tuple[Tensor, Tensor, Dict[str, Any]]:
    """Prepare how a kernel addresses a piece: memory, row index, constants."""
    channels = stream.shape[-1]
    if isinstance(index, slice) and index.step not in (None, 1):
        tokens = torch.arange(stream.numel() // channels, device=stream.device)
        index = tokens[index]
    if isinstance(index, Tensor):
        return stream, index.contiguous(), {'INDEXED': True, 'CHANNELS': channels}
    if index is not None:
        stream = stream.view(-1, channels)[index]
    return stream, stream, {'INDEXED': False, 'CHANNELS': 1}


def read(stream: Tensor, index: Any, factor: float, dtype: torch.dtype) -> Tensor:
    """Read ``stream[index]·factor`` of an int32 stream into a new float tensor.

    Args:
        stream: Stream [..., C].
        index: Index of a :class:`dr2net_mm.reversible.Piece`.
        factor: A power of two.
        dtype: float32, or a type that float32 is rounded to at the end.
    """
    source, rows, constants = _place(stream, index)
    shape: Sequence[int] = source.shape
    if constants['INDEXED']:
        shape = (rows.numel(), stream.shape[-1])
    out = torch.empty(shape, dtype=dtype, device=stream.device)
    count = out.numel()
    if count:
        _launch(
            'read_kernel', _blocks(count), out, source, rows, count, factor, **constants
        )
    return out


def increment_(
    stream: Tensor,
    index: Any,
    f: Tensor,
    x: Tensor,
    alpha: float,
    scale: float,
    subtract: bool = False,
) -> Optional[Tensor]:
    """Add ``± round((f + α·x)·scale)`` to ``stream[index]`` of an int32 stream.

    Args:
        stream: Stream [..., C].
        index: Index of a :class:`dr2net_mm.reversible.Piece`.
        f: Branch output on that piece.
        x: Branch input on that piece.
        alpha: Coefficient α.
        scale: A power of two.
        subtract: Whether to subtract.

    Returns:
        When adding, the largest magnitude of the result in units of 2**31.
    """
    target, rows, constants = _place(stream, index)
    largest = _zero_magnitude(stream)
    count = f.numel()
    if count:
        _launch(
            'increment_kernel',
            _blocks(count),
            target,
            rows,
            f.contiguous(),
            x.contiguous(),
            largest,
            count,
            alpha,
            scale,
            0,
            SUBTRACT=subtract,
            **constants,
        )
    return None if subtract else largest.view(torch.float32)


def _zero_magnitude(like: Tensor) -> Tensor:
    """Return a scalar for kernels to raise; viewed as float32 it is the maximum."""
    return torch.zeros((), dtype=torch.int32, device=like.device)


def accumulate_(stream: Tensor, index: Any, values: Tensor) -> None:
    """Add ``values`` to ``stream[index]`` of a float32 stream."""
    target, rows, constants = _place(stream, index)
    count = values.numel()
    if count:
        _launch(
            'accumulate_kernel',
            _blocks(count),
            target,
            rows,
            values.contiguous(),
            count,
            **constants,
        )


def combine_(gy: Tensor, gx: Tensor, alpha: float, beta: float) -> Tensor:
    """Compute ``gy = β·gy + α·gx`` in place, of float32 tensors."""
    count = gy.numel()
    if count:
        gx = gx.contiguous()
        _launch('combine_kernel', _blocks(count), gy, gx, count, alpha, beta, 0)
    return gy


def enter_(x: Tensor, y: Tensor, x0: Tensor, scale: float, ratio: Ratio) -> Tensor:
    """Compute ``x = round(x0·scale)`` and ``y = floor(ρ·x)``.

    Args:
        x: int32 stream to fill.
        y: int32 stream to fill.
        x0: Contiguous floating-point tensor.
        scale: A power of two.
        ratio: ρ, a :class:`dr2net_mm.reversible.fixed_point.Ratio`.

    Returns:
        The largest ``|x0|·scale`` in units of 2**31.
    """
    largest = _zero_magnitude(x)
    count = x.numel()
    if count:
        _launch('enter_kernel', _blocks(count), x, y, x0, largest, count, scale, *ratio)
    return largest.view(torch.float32)


def takes_ratio(ratio: Ratio) -> bool:
    """Return whether :func:`step_` and :func:`inverse_step_` are exact for a ratio."""
    return 0 < ratio.numerator and ratio.bits <= MAX_RATIO_BITS


def step_(x: Tensor, packed: Optional[Tensor], ratio: Ratio, size: int) -> None:
    """Compute ``x = floor(ρ·x)`` in place; pack the remainders if asked.

    With ρ = a / 2**b and t = a·x mod 2**b, the remainder x − ceil(y / ρ) is
    floor(t / a) = (t·m) >> (b + 16) with m = ceil(2**(b + 16) / a): the error of
    t·m / 2**(b + 16) is below 2**-16 ≤ 1 / a, the gap between quotients.
    """
    shift = ratio.bits + 16
    reciprocal = -(-(1 << shift) // ratio.numerator)
    width = 0 if packed is None else ratio.remainder_width
    _launch_slices('beta_kernel', x, packed, width, size, *ratio, reciprocal, shift)


def inverse_step_(y: Tensor, packed: Tensor, ratio: Ratio, size: int) -> None:
    """Undo :func:`step_` in place.

    2**b / a is an integer and a fraction r / a; the fraction is rounded up to a
    multiple of 2**-48. For a 32-bit y the error of y times it is below
    2**-17 ≤ 1 / 2a, half the gap between quotients.
    """
    quotient, rest = divmod(1 << ratio.bits, ratio.numerator)
    fraction = -(-(rest << FRACTION_BITS) // ratio.numerator)
    high, low = divmod(fraction, 1 << (FRACTION_BITS // 2))
    width = ratio.remainder_width
    _launch_slices('inverse_beta_kernel', y, packed, width, size, quotient, high, low)


def _launch_slices(
    name: str,
    stream: Tensor,
    packed: Optional[Tensor],
    width: int,
    size: int,
    *args: int,
) -> None:
    """Run a kernel over slices that are packed one by one (see :mod:`packing`)."""
    count = stream.numel()
    if not count:
        return
    per_element = max(1, 8 // width) if width else 1
    blocks = _blocks(-(-min(size, count) // per_element))
    _launch(
        name,
        (*blocks, -(-count // size)),
        stream,
        stream if packed is None else packed,
        count,
        *args,
        WIDTH=width,
        PER_ELEMENT=per_element,
        SIZE=size,
    )
