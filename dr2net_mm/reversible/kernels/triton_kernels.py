"""Triton kernels behind :mod:`dr2net_mm.reversible.kernels.fused`.

They give the bits of the torch implementation on every GPU and in every version of
Triton, which takes some care:

- A compiler may contract a product and a sum into one operation that rounds once. A
  product passes :func:`rounded`, behind which it cannot be seen to be a product.
- Magnitudes are compared as integers: the bits of non-negative floats are ordered as
  the floats are, with NaN above infinity, and the maximum of integers does not depend
  on the order of the blocks.
- Rounding half to even, and division, are written in operations that are exact and
  that neither differ nor move between versions of Triton.

Element offsets are 64 bits wide up to a block, 32 within it. Arguments must not be
named as launch options of Triton are, such as ``stream``.
"""

import triton
import triton.language as tl


@triton.jit
def rounded(product, zero):
    """Round a float32 product where the compiler cannot fuse it; ``zero`` is 0."""
    return (product.to(tl.int32, bitcast=True) ^ zero).to(tl.float32, bitcast=True)


@triton.jit
def absolute_bits(value):
    """Return the bits of the absolute value of a float32, as int32."""
    return value.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def round_half_even(value):
    """Round a float32 of any magnitude to an integer, as ``torch.round``.

    Between 2**23 and 2**24 the float32 numbers are the integers, so that adding 2**23
    to a magnitude of less than that rounds it; from 2**23 on it is an integer already.
    """
    bits = absolute_bits(value)
    sign = value.to(tl.int32, bitcast=True) ^ bits
    size = bits.to(tl.float32, bitcast=True)
    size = tl.where(size < 8388608.0, (size + 8388608.0) - 8388608.0, size)
    return (size.to(tl.int32, bitcast=True) | sign).to(tl.float32, bitcast=True)


@triton.jit
def block_offsets(
    index, count, INDEXED: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    """Return offsets of a block in a piece and its stream, and which exist.

    With ``INDEXED`` the piece is the rows ``index`` of a stream [T, CHANNELS].
    """
    start = tl.program_id(0).to(tl.int64) * BLOCK
    within = tl.arange(0, BLOCK)
    offsets = start + within
    exists = offsets < count
    places = offsets
    if INDEXED:
        first = start // CHANNELS
        within = (start - first * CHANNELS).to(tl.int32) + within
        row = tl.load(index + first + within // CHANNELS, mask=exists, other=0)
        places = row * CHANNELS + within % CHANNELS
    return offsets, places, exists


@triton.jit
def read_kernel(
    out,
    tokens,
    index,
    count,
    factor,
    INDEXED: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute ``out = tokens[piece]·factor``."""
    offsets, places, exists = block_offsets(index, count, INDEXED, CHANNELS, BLOCK)
    value = tl.load(tokens + places, mask=exists, other=0).to(tl.float32) * factor
    if out.dtype.element_ty == tl.bfloat16:
        # To nearest, ties to even; Triton's own cast truncates on some targets.
        bits = value.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        value = bits.to(tl.int16).to(tl.bfloat16, bitcast=True)
    tl.store(out + offsets, value.to(out.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=['zero'])
def increment_kernel(
    tokens,
    index,
    f,
    x,
    largest,
    count,
    alpha,
    scale,
    zero,
    SUBTRACT: tl.constexpr,
    INDEXED: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute ``tokens[piece] ±= round((f + α·x)·scale)``.

    When adding, also the largest magnitude of the result in units of 2**31, as the
    bits of a float32.
    """
    offsets, places, exists = block_offsets(index, count, INDEXED, CHANNELS, BLOCK)
    residual = tl.load(x + offsets, mask=exists, other=0).to(tl.float32) * alpha
    value = tl.load(f + offsets, mask=exists, other=0).to(tl.float32)
    value = (rounded(residual, zero) + value) * scale
    value = round_half_even(value)
    before = tl.load(tokens + places, mask=exists, other=0)
    if SUBTRACT:
        tl.store(tokens + places, before - value.to(tl.int32), mask=exists)
    else:
        tl.store(tokens + places, before + value.to(tl.int32), mask=exists)
        share = (value + before.to(tl.float32)) * 4.656612873077393e-10
        tl.atomic_max(largest, tl.max(absolute_bits(share), axis=0), sem='relaxed')


@triton.jit
def times_ratio(x, numerator, bits):
    """Compute ``floor(x·numerator / 2**bits)`` of int32, as int64."""
    return (x.to(tl.int64) * numerator) >> bits


@triton.jit(do_not_specialize=['numerator', 'bits'])
def enter_kernel(
    x,
    y,
    x0,
    largest,
    count,
    scale,
    numerator,
    bits,
    BLOCK: tl.constexpr,
):
    """Compute ``x = round(x0·scale)`` and ``y = floor(x·numerator / 2**bits)``.

    Also the largest magnitude of x0·scale in units of 2**31, as the bits of a float32.
    """
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = offsets < count
    value = tl.load(x0 + offsets, mask=exists, other=0).to(tl.float32)
    share = absolute_bits(value * (scale * 4.656612873077393e-10))
    tl.atomic_max(largest, tl.max(share, axis=0), sem='relaxed')
    integer = round_half_even(value * scale).to(tl.int32)
    tl.store(x + offsets, integer, mask=exists)
    integer = times_ratio(integer, numerator, bits).to(tl.int32)
    tl.store(y + offsets, integer, mask=exists)


@triton.jit
def slice_bounds(count, SIZE: tl.constexpr, PER_ELEMENT: tl.constexpr):
    """Return this program's slice: first element, elements, stored elements.

    As in :mod:`packing`: each slice of SIZE elements is packed by itself, and its
    stored element i holds the elements i, i + m, i + 2m, …
    """
    first = tl.program_id(1).to(tl.int64) * SIZE
    elements = count - first
    elements = tl.where(elements < SIZE, elements, SIZE).to(tl.int32)
    return first, elements, (elements + (PER_ELEMENT - 1)) // PER_ELEMENT


@triton.jit(do_not_specialize=['numerator', 'bits', 'reciprocal', 'shift'])
def beta_kernel(
    x,
    packed,
    count,
    numerator,
    bits,
    reciprocal,
    shift,
    WIDTH: tl.constexpr,
    PER_ELEMENT: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute ``x = floor(x·a / 2**b)`` in place, and pack the remainders.

    With t = a·x mod 2**b, the remainder is floor(t / a), computed as
    (t·reciprocal) >> shift; a WIDTH of 0 packs nothing.
    """
    first, elements, stored = slice_bounds(count, SIZE, PER_ELEMENT)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = tl.zeros((BLOCK,), tl.int32)
    for part in tl.static_range(PER_ELEMENT):
        within = place + part * stored
        exists = (place < stored) & (within < elements)
        value = tl.load(x + first + within, mask=exists, other=0)
        product = value.to(tl.int64) * numerator
        after = product >> bits
        tl.store(x + first + within, after.to(tl.int32), mask=exists)
        if WIDTH > 0:
            rest = product - (after << bits)
            remainder = ((rest * reciprocal) >> shift).to(tl.int32)
            word = word | (remainder << (part * WIDTH))
    if WIDTH > 0:
        if WIDTH == 16:
            word = word - 32768
        target = packed + first // PER_ELEMENT + place
        tl.store(target, word.to(packed.dtype.element_ty), mask=place < stored)


@triton.jit(do_not_specialize=['quotient', 'high', 'low'])
def inverse_beta_kernel(
    y,
    packed,
    count,
    quotient,
    high,
    low,
    WIDTH: tl.constexpr,
    PER_ELEMENT: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute ``y = ceil(y·2**b / a) + remainder`` in place, within ±(2**31 - 1).

    2**b / a is ``quotient`` and a fraction, which is rounded up to
    (high·2**24 + low) / 2**48.
    """
    first, elements, stored = slice_bounds(count, SIZE, PER_ELEMENT)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    source = packed + first // PER_ELEMENT + place
    word = tl.load(source, mask=place < stored, other=0).to(tl.int32)
    if WIDTH == 16:
        word = word + 32768
    for part in tl.static_range(PER_ELEMENT):
        within = place + part * stored
        exists = (place < stored) & (within < elements)
        value = tl.load(y + first + within, mask=exists, other=0)
        # ceil(y·fraction) = -floor(-y·fraction), in two words; 2**31 makes up for
        # the rounding of the fraction where y is positive.
        minus = -(value.to(tl.int64))
        below = (minus * low + 2147483648) >> 24
        below = (minus * high + below) >> 24
        before = value.to(tl.int64) * quotient - below
        before += (word >> (part * WIDTH)) & ((1 << WIDTH) - 1)
        before = tl.where(before > 2147483647, 2147483647, before)
        before = tl.where(before < -2147483647, -2147483647, before)
        tl.store(y + first + within, before.to(tl.int32), mask=exists)


@triton.jit(do_not_specialize=['zero'])
def combine_kernel(gy, gx, count, alpha, beta, zero, BLOCK: tl.constexpr):
    """Compute ``gy = β·gy + α·gx`` in place."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = offsets < count
    value = rounded(tl.load(gy + offsets, mask=exists, other=0) * beta, zero)
    past = rounded(tl.load(gx + offsets, mask=exists, other=0) * alpha, zero)
    tl.store(gy + offsets, value + past, mask=exists)


@triton.jit
def accumulate_kernel(
    tokens,
    index,
    values,
    count,
    INDEXED: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add ``values`` to ``tokens[piece]``."""
    offsets, places, exists = block_offsets(index, count, INDEXED, CHANNELS, BLOCK)
    value = tl.load(tokens + places, mask=exists, other=0)
    value += tl.load(values + offsets, mask=exists, other=0).to(tl.float32)
    tl.store(tokens + places, value, mask=exists)
