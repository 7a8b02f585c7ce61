"""Adapters after every block of a frozen network, in the manner of Mona."""

import math
import types
from typing import Any, List, Optional, Sequence

import torch
from torch import Tensor, nn

from dr2net_mm.errors import UserError

from .blocks import block_width, named_blocks

WIDTH = 64
"""Channels within an adapter, as in Mona."""


class ConvolutionalAdapter(nn.Module):
    """A trained bottleneck with depthwise convolutions, added to a stream of tokens.

    From Mona (Yin et al., CVPR 2025): a norm whose result and input are both scaled by
    trained vectors, a projection to 64 channels, the mean of depthwise convolutions of
    3, 5 and 7 pixels, a 1×1 convolution, GELU, a projection back; skips around the
    convolutions. Simplified: one adapter a block where Mona has two (behind attention
    and behind the MLP), no dropout, and the last projection begins with zeros.

    Args:
        channels: C of the tokens.
        width: Channels within.
    """

    def __init__(self, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.scale_of_norm = nn.Parameter(torch.full((channels,), 1e-6))
        self.scale_of_input = nn.Parameter(torch.ones(channels))
        self.down = nn.Linear(channels, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width)
            for size in (3, 5, 7)
        )
        self.mix = nn.Conv2d(width, width, 1)
        self.activation = nn.GELU()
        self.up = nn.Linear(width, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the tokens of [B, H, W, C] with what is added to them."""
        scaled = self.norm(x) * self.scale_of_norm + x * self.scale_of_input
        inner = self.down(scaled).permute(0, 3, 1, 2)
        inner = sum(conv(inner) for conv in self.convolutions) / 3 + inner
        inner = self.mix(inner) + inner
        return x + self.up(self.activation(inner).permute(0, 2, 3, 1))


def add_adapters(model: nn.Module, width: int = WIDTH) -> nn.Module:
    """Freeze a model and put an adapter behind every block of it, in place.

    Raises:
        UserError: If its blocks are not known.
    """
    model.requires_grad_(False)
    with torch.random.fork_rng():
        for _, block in named_blocks(model):
            block.adapter = ConvolutionalAdapter(block_width(block), width)
            block.forward = types.MethodType(_adapted, block)
    return model


def _adapted(block: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Run the forward of the class, and the adapter on its tokens."""
    y = type(block).forward(block, x, *args, **kwargs)
    if not isinstance(y, Tensor):
        raise UserError(
            f'{type(block).__name__} returns {type(y).__name__}; adapters go behind '
            'blocks that return a tensor'
        )
    if y.dim() > 3:  # [B, T, H, W, C] or [B, H, W, C]
        return block.adapter(y.flatten(0, -4)).view(y.shape)
    return _on_sequence(block.adapter, y, _grid_of(args, kwargs))


def _on_sequence(
    adapter: nn.Module, y: Tensor, grid: Optional[Sequence[int]]
) -> Tensor:
    """Run an adapter on tokens of [B, N, C] behind class tokens, if there are any."""
    height, width = grid or 2 * [math.isqrt(y.shape[1])]
    extra = y.shape[1] - height * width
    tokens = y[:, extra:]
    tokens = adapter(tokens.unflatten(1, (height, width))).flatten(1, 2)
    return torch.cat([y[:, :extra], tokens], dim=1) if extra else tokens


def _grid_of(args: Sequence[Any], kwargs: Any) -> Optional[List[int]]:
    """Return height and width where a block is given them."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, (tuple, list)) and len(value) == 2:
            if all(isinstance(number, int) for number in value):
                return list(value)
    return None
