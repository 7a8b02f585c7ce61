"""Partition of a token grid into (shifted) windows, as index tensors.

The grid may have any number of dimensions: 2 for images, 3 for videos.
"""

from functools import lru_cache
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from dr2net_mm.reversible import Piece


class WindowLayout(NamedTuple):
    """Windows of one sample; those without a mask come first.

    Attributes:
        index: Token that stands at each place, -1 for padding; int64 [windows, N].
        region: Which of the regions that a shift brings together a place belongs to;
            uint8 [windows, N].
        unmasked: Number of windows whose places are all of one region.
        padded: Whether there is padding at all.
    """

    index: Tensor  # type: ignore[assignment]  # hides a method of tuple
    region: Tensor
    unmasked: int
    padded: bool


class WindowContext(NamedTuple):
    """Context of a piece of windows, as attention needs it.

    Attributes:
        windows: Number of windows.
        places: Places that hold tokens, int64 [tokens]; None if all do.
        region: Region of every place [windows, N], or None if no mask is needed.
    """

    windows: int
    places: Optional[Tensor]
    region: Optional[Tensor]


def _axis(
    size: int, window: int, shift: int, shift_first: bool
) -> Tuple[Tensor, Tensor]:
    """Return the source (-1 for padding) and region of each place along one axis.

    The axis is padded at its end to a multiple of the window, then rolled by the
    shift; or first rolled, then padded.
    """
    padded = -(-size // window) * window
    place = torch.arange(padded)
    source = (place + shift) % padded
    if shift_first:
        source = torch.where(place < size, (place + shift) % size, size)
    region = (place >= padded - window).long() + (place >= padded - shift).long()
    if not shift:
        region.zero_()
    return source.masked_fill(source >= size, -1), region


@lru_cache(maxsize=64)
def window_layout(
    size: Tuple[int, ...],
    window: Tuple[int, ...],
    shift: Tuple[int, ...],
    shift_first: bool = False,
) -> WindowLayout:
    """Compute the layout of the windows of a grid, on the CPU.

    Args:
        size: Tokens along each axis, e.g. (H, W).
        window: Window along each axis.
        shift: Shift along each axis, 0 or more and less than the window.
        shift_first: Whether the grid is padded after the shift, as timm does, and not
            before it.
    """
    axes = [_axis(*axis, shift_first) for axis in zip(size, window, shift)]
    index = torch.zeros((), dtype=torch.int64)
    valid = torch.ones((), dtype=torch.bool)
    region = torch.zeros((), dtype=torch.int64)
    for (source, part), length in zip(axes, size):
        index = index.unsqueeze(-1) * length + source
        valid = valid.unsqueeze(-1) & (source >= 0)
        region = region.unsqueeze(-1) * 3 + part
    index = _partition(index.masked_fill(~valid, -1), window)
    region = _partition(region, window)
    masked = (region != region[:, :1]).any(dim=1)
    order = torch.argsort(masked.to(torch.uint8), stable=True)
    return WindowLayout(
        index[order],
        region[order].to(torch.uint8),
        int((~masked).sum()),
        bool((index < 0).any()),
    )


def _partition(grid: Tensor, window: Sequence[int]) -> Tensor:
    """Partition a padded grid into windows: [windows, places in a window]."""
    split: List[int] = []
    for length, extent in zip(grid.shape, window):
        split += [length // extent, extent]
    axes = len(window)
    order = [2 * i for i in range(axes)] + [2 * i + 1 for i in range(axes)]
    windows = grid.reshape(split).permute(order)
    places = 1
    for extent in window:
        places *= extent
    return windows.reshape(-1, places)


@lru_cache(maxsize=64)
def window_pieces(
    batch: int,
    size: Tuple[int, ...],
    window: Tuple[int, ...],
    shift: Tuple[int, ...],
    windows_per_piece: Optional[int],
    device: torch.device,
    shift_first: bool = False,
) -> Tuple[Piece, ...]:
    """Return the pieces of whole windows, over all samples of a batch, on a device.

    Windows with and without a mask are in separate pieces, so that most of a shifted
    layer needs none.

    Args:
        batch: Number of samples B of a stream [B, tokens, C].
        size: Tokens along each axis.
        window: Window along each axis.
        shift: Shift along each axis.
        windows_per_piece: Most windows of a piece; None for no limit.
        device: Where the index tensors are wanted.
        shift_first: Whether the grid is padded after the shift.
    """
    # Cached tensors must be ordinary ones even if made under inference mode.
    with torch.inference_mode(False):
        layout = window_layout(size, window, shift, shift_first)
        tokens = 1
        for length in size:
            tokens *= length
        pieces: List[Piece] = []
        total = layout.index.shape[0]
        groups = ((0, layout.unmasked, False), (layout.unmasked, total, True))
        for first, last, masked in groups:
            rows = torch.arange(batch * (last - first))
            if not len(rows):
                continue
            for part in rows.split(windows_per_piece or len(rows)):
                row = first + part % (last - first)
                sample = part // (last - first)
                pieces.append(_piece(layout, row, sample, tokens, masked, device))
        return tuple(pieces)


def _piece(
    layout: WindowLayout,
    row: Tensor,
    sample: Tensor,
    tokens: int,
    masked: bool,
    device: torch.device,
) -> Piece:
    index = layout.index[row]
    places = None
    if layout.padded:
        places = (index.view(-1) >= 0).nonzero().view(-1)
    index = (index + sample.unsqueeze(1) * tokens).view(-1)
    region = _copied(layout.region[row], device) if masked else None
    if places is not None:
        index, places = index[places], _copied(places, device)
    context = WindowContext(len(row), places, region)
    return Piece(_copied(index, device), context)


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for the copy."""
    if device.type == 'cuda':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
