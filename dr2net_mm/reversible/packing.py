"""Small non-negative integers packed into bytes."""

import torch
from torch import Tensor

#: Widths in which a remainder is stored, in bits.
PACKED_WIDTHS = (0, 1, 2, 4, 8, 16)


def packed_width(largest: int) -> int:
    """Return the smallest stored bit width that holds 0 … ``largest``.

    Raises:
        ValueError: If ``largest`` needs more than 16 bits.
    """
    for width in PACKED_WIDTHS:
        if largest < 1 << width:
            return width
    raise ValueError(f'largest must be below 2**16, got {largest}.')


def packed_size(count: int, width: int) -> int:
    """Return how many elements store ``count`` integers of ``width`` bits."""
    per_element = max(1, 8 // width) if width else 0
    return -(-count // per_element) if per_element else 0


def packed_dtype(width: int) -> torch.dtype:
    """Return the element type of a packed tensor."""
    return torch.int16 if width == 16 else torch.uint8


def pack(values: Tensor, width: int) -> Tensor:
    """Pack a flat int32 tensor of integers in [0, 2**width).

    With ``k = 8 / width`` values a byte, byte ``i`` of ``m`` holds the values
    ``i, i + m, …, i + (k-1)·m``, so that packing reads contiguous runs.
    """
    if width == 16:
        return (values - 32768).to(torch.int16)
    values = values.to(torch.uint8)
    if width == 8:
        return values
    size = packed_size(values.numel(), width)
    packed = values[:size].clone()
    for position in range(1, 8 // width):
        part = values[position * size : (position + 1) * size]
        packed[: part.numel()] |= part << (position * width)
    return packed


def unpack(packed: Tensor, width: int, count: int) -> Tensor:
    """Undo :func:`pack`: ``count`` integers as a flat int32 or uint8 tensor."""
    if width == 16:
        return packed.to(torch.int32) + 32768
    if width == 8:
        return packed
    size, mask = packed.numel(), (1 << width) - 1
    values = torch.empty(count, dtype=torch.uint8, device=packed.device)
    for position in range(8 // width):
        part = values[position * size : (position + 1) * size]
        part.copy_((packed[: part.numel()] >> (position * width)) & mask)
    return values
