"""Window attention in operations that can be exported to other runtimes.

:class:`WindowAttentionBranch` gathers the tokens of a batch by their place in the
batch. Here those of each sample are gathered alike, so that a graph takes any batch.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .windows import window_layout

#: What mmdet and mmaction add to the logits of two places of different regions.
MASKED = -100.0


def attention_in_all_windows(
    msa: nn.Module,
    x: Tensor,
    bias: Tensor,
    size: Sequence[int],
    window: Sequence[int],
    shift: Sequence[int],
) -> Tensor:
    """Compute multi-head self-attention in all windows of all samples at once.

    Args:
        msa: mmdet's ``WindowMSA`` or mmaction's ``WindowAttention3D``.
        x: Normed tokens [B, tokens, C].
        bias: Relative position bias of a window, [1, heads, N, N].
        size: Tokens along each axis of the grid.
        window: Window along each axis.
        shift: Shift along each axis.

    Returns:
        Tensor [B, tokens, C].
    """
    places = prod(window)
    grid = window_grid(tuple(size), tuple(window), tuple(shift), x.device)
    # Padding reads the token behind the last one.
    x = F.pad(x, (0, 0, 0, 1)).index_select(1, grid.index)
    channels = x.shape[2]
    width = channels // msa.num_heads
    qkv = msa.qkv(x).view(-1, grid.windows, places, 3, msa.num_heads, width)
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
    logits = (q * msa.scale) @ k.transpose(-2, -1)
    logits = logits + bias
    if grid.mask is not None:
        logits = logits + grid.mask
    out = (logits.softmax(dim=-1) @ v).transpose(2, 3)
    out = out.reshape(-1, grid.windows * places, channels)
    return msa.proj(out.index_select(1, grid.place_of_token))


class WindowGrid(NamedTuple):
    """Windows of a sample, as tensors that are constants of an exported graph.

    Attributes:
        windows: Number of windows.
        index: Token of each place, the number of tokens for padding: [windows · N].
        place_of_token: Place of each token, [tokens].
        mask: What is added to logits of places of different regions,
            [windows, 1, N, N]; None if there is one region.
    """

    windows: int
    index: Tensor  # type: ignore[assignment]  # hides a method of tuple
    place_of_token: Tensor
    mask: Optional[Tensor]


# As many as a Swin of four stages has, plain and shifted.
@lru_cache(maxsize=8)
def window_grid(
    size: Tuple[int, ...],
    window: Tuple[int, ...],
    shift: Tuple[int, ...],
    device: torch.device,
) -> WindowGrid:
    """Return the windows of a grid, as tensors on a device.

    A tracer watches one thread. Tensors made in another are constants of its graph,
    and ones that can be cached.
    """
    with ThreadPoolExecutor(max_workers=1) as aside:
        return aside.submit(_window_grid, size, window, shift, device).result()


def _window_grid(
    size: Tuple[int, ...],
    window: Tuple[int, ...],
    shift: Tuple[int, ...],
    device: torch.device,
) -> WindowGrid:
    """Return how the tokens of a feature map are laid out in all its windows.

    Args:
        size: Height and width of the map (or frames, height and width).
        window: Size of a window.
        shift: Shift of the windows.
        device: Where the tensors are wanted.
    """
    layout = window_layout(size, window, shift)
    tokens = prod(size)
    index = layout.index.reshape(-1)
    filled = (index >= 0).nonzero().view(-1)
    place_of_token = torch.empty(tokens, dtype=torch.int64)
    place_of_token[index[filled]] = filled
    mask = None
    if layout.unmasked < len(layout.index):
        different = layout.region.unsqueeze(1) != layout.region.unsqueeze(2)
        mask = torch.zeros(different.shape).masked_fill_(different, MASKED)
        mask = mask.unsqueeze(1)
    index = index.masked_fill(index < 0, tokens)
    return WindowGrid(
        len(layout.index),
        index.to(device),
        place_of_token.to(device),
        None if mask is None else mask.to(device),
    )
