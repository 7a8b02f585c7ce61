"""Slices of streams: elementwise work on whole streams is done a slice at a time."""

from typing import Iterator, Tuple

from torch import Tensor

#: Elements of a slice: few enough for the cache of a CPU, many enough elsewhere to
#: keep a device busy.
CPU_SLICE = 1 << 18
DEVICE_SLICE = 1 << 22


def slice_size(tensor: Tensor) -> int:
    """Return the elements of a slice of a stream."""
    return CPU_SLICE if tensor.device.type == 'cpu' else DEVICE_SLICE


def slices(*tensors: Tensor) -> Iterator[Tuple[Tensor, ...]]:
    """Yield the flat slices of contiguous tensors of equal size, together."""
    flat = [tensor.view(-1) for tensor in tensors]
    size = slice_size(flat[0])
    for start in range(0, flat[0].numel(), size):
        yield tuple(tensor[start : start + size] for tensor in flat)
