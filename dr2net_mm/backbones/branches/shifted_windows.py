"""Attention in (shifted) windows, evaluated by a module that takes windows."""

from math import prod
from typing import Callable, List, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from dr2net_mm.reversible import WHOLE, Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .drop_path import scale_tokens
from .estimate import estimated_cost
from .token_branch import TokenBranch
from .window_export import MASKED
from .windows import window_pieces


class ShiftedWindowBranch(TokenBranch):
    """``F(x) = drop_path(after(attention(before(x))))`` of a Swin block of timm.

    Where the stream is evaluated in pieces, these are groups of windows, whose tokens
    are gathered by index. The windows are those of timm, which shifts before it pads.

    Args:
        before: Layers in front of the attention, token by token.
        attention: Module that is called as ``attention(windows, mask=mask)`` with
            windows [W, N, C] and a mask [W, N, N] that is added to the logits.
        after: Layers behind it, token by token.
        whole: Function that does the same for a whole grid [B, H, W, C], windows
            included; the stream is handed to it where it is not cut.
        drop_path: The block's ``DropPath`` or ``Identity``.
        size: Tokens along each axis of the grid, (H, W).
        window: Window along each axis.
        shift: Shift along each axis.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
    """

    def __init__(
        self,
        before: Sequence[nn.Module],
        attention: nn.Module,
        after: Sequence[nn.Module],
        whole: Callable[[Tensor], Tensor],
        drop_path: nn.Module,
        size: Sequence[int],
        window: Sequence[int],
        shift: Sequence[int],
        chunk: Union[None, int, str],
    ) -> None:
        super().__init__(drop_path, chunk)
        self.before = tuple(before)
        self.attention = attention
        self.after = tuple(after)
        self.whole = whole
        self.size = tuple(int(length) for length in size)
        self.window = tuple(int(length) for length in window)
        self.shift = tuple(int(length) for length in shift)
        self._cost: Optional[TokenCost] = None

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        return unique_parameters((*self.before, self.attention, *self.after))

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
        if self._cost is None:
            places = prod(self.window)
            modules = (*self.before, self.attention, *self.after)
            # Logits, what scale, bias and mask make of them, and their softmax.
            weights = 4 * self.attention.num_heads * places
            self._cost = estimated_cost(
                modules, channels, weights, 2 * places * channels
            )
        return self._cost

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Split the stream into groups of windows, or leave it whole."""
        channels = stream.shape[-1]
        size = self.piece_tokens(stream.numel() // channels, channels)
        if size is None:
            return WHOLE
        return window_pieces(
            stream.shape[0],
            self.size,
            self.window,
            self.shift,
            max(1, size // prod(self.window)),
            stream.device,
            shift_first=True,
        )

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        out = x
        for layer in self.before:
            out = layer(out)
        if piece.index is None:
            out = self.whole(out)
        else:
            out = self._windows(out, piece)
        for layer in self.after:
            out = layer(out)
        return scale_tokens(out, drop_mask, piece)

    def _windows(self, x: Tensor, piece: Piece) -> Tensor:
        """Apply attention within the windows of a piece, [T, C] to [T, C]."""
        context, places, channels = piece.context, prod(self.window), x.shape[-1]
        if context.places is not None:
            padded = x.new_zeros(context.windows * places, channels)
            x = padded.index_copy(0, context.places, x)
        mask = None
        if context.region is not None:
            different = context.region.unsqueeze(1) != context.region.unsqueeze(2)
            mask = torch.zeros_like(different, dtype=torch.float32)
            mask.masked_fill_(different, MASKED)
        out = self.attention(x.view(context.windows, places, channels), mask=mask)
        out = out.reshape(-1, channels)
        if context.places is not None:
            out = out.index_select(0, context.places)
        return out
