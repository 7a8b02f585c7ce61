"""Layers that Rev-ViT and Rev-MViT are made of, under the names of mmpretrain."""

from functools import partial
from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

LayerNorm = partial(nn.LayerNorm, eps=1e-6)

#: The published initialization: truncated normal weights, biases of 0.02.
PUBLISHED_INIT = [
    dict(type='TruncNormal', layer=['Conv2d', 'Conv3d'], std=0.02),
    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.02),
    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.02),
]

#: Options of the published members of the family, streams joined as [y_N, x_N].
PUBLISHED_MEMBER = dict(alpha=0.0, beta=1.0, fusion='concat_yx')


def published_member(dual_residual: Optional[dict]) -> Dict[str, Any]:
    """Options of a user on top of those of the published networks."""
    return {**PUBLISHED_MEMBER, **(dual_residual or {})}


def drop_path_layer(rate: float) -> nn.Module:
    """``DropPath`` of a rate, ``Identity`` where it is 0."""
    return DropPath(rate) if rate > 0 else nn.Identity()


def drop_path_rates(rate: float, depth: int) -> List[float]:
    """Rates of the blocks, from 0 in the first one to ``rate`` in the last one.

    Raises:
        ValueError: If the rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {rate}.')
    return torch.linspace(0, rate, depth, device='cpu').tolist()


def check_heads(width: int, heads: int) -> None:
    """Raise a ValueError where attention heads do not divide the channels."""
    if heads < 1 or width % heads:
        raise ValueError(
            f'{width} channels cannot be shared out among {heads} heads; make the '
            'number of channels a multiple of that of the heads.'
        )


class PatchEmbed(nn.Module):
    """Patches of images or videos as tokens, by a convolution.

    Args:
        in_channels: Channels of the input.
        width: Channels C of a token.
        kernel: Size of the convolution, two numbers for images and three for videos.
        stride: Distance of the patches.
        padding: Zeros around the input.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
        self.projection = convolution(
            in_channels, width, tuple(kernel), tuple(stride), tuple(padding)
        )

    def grid(self, size: Sequence[int]) -> List[int]:
        """Tokens along each axis of an input of a size; 0 where none fits."""
        layer = self.projection
        return [
            max(0, (length + 2 * padding - kernel) // stride + 1)
            for length, kernel, stride, padding in zip(
                size, layer.kernel_size, layer.stride, layer.padding
            )
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C] of an input [B, in_channels, (T,) H, W]."""
        return self.projection(x).flatten(2).transpose(1, 2)


def resized_positions(
    positions: Tensor, source: Sequence[int], target: Sequence[int]
) -> Tensor:
    """Learned position embeddings [1, H·W, C] for a grid of another size.

    Args:
        positions: Embeddings for a grid of size ``source``.
        source: Height and width of that grid.
        target: Height and width of the grid that is wanted.
    """
    if tuple(source) == tuple(target):
        return positions
    maps = positions.transpose(1, 2).unflatten(2, tuple(source))
    maps = F.interpolate(maps, tuple(target), mode='bicubic', align_corners=False)
    return maps.flatten(2).transpose(1, 2)
