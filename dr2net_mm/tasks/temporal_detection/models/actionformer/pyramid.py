"""Pyramid of features over time, each level half as long as the one before."""

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from .attention import ChannelNorm, TransformerBlock

Windows = Union[int, None, Sequence[Optional[int]]]


class TransformerPyramid(nn.Module):
    """Convolutions, transformer blocks, and a downsampling block for each level.

    Args:
        in_channels: Channels of the features.
        channels: Channels of every level.
        length: T of the features, which the position encoding is made for.
        heads: Attention heads.
        windows: Odd window of the attention, None for all positions; or one for each
            level.
        layers: Convolutions, blocks at full length, and levels below the first.
        position_encoding: Whether to add sinusoids of the position.
        dropout: Probability of dropout in the blocks.
        drop_path: Probability that a video skips a branch.
        layer_scale: First value of the gains of the branches.

    Raises:
        ValueError: If the channels do not divide among the heads, a number of layers
            is out of range or does not fit the length, or a window is even.

    Source: ActionFormer (ECCV 2022).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        length: int,
        heads: int = 4,
        windows: Windows = 19,
        layers: Tuple[int, int, int] = (2, 2, 5),
        position_encoding: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f'channels is {channels}, which {heads} heads cannot share; make it a '
                'multiple of num_heads.'
            )
        convolutions, blocks, halvings = check_layers(layers, length)
        level_windows = check_windows(windows, halvings + 1)
        options: Dict[str, Any] = dict(
            dropout=dropout, drop_path=drop_path, layer_scale=layer_scale
        )
        self.embedding = convolution_tower(in_channels, channels, convolutions)
        position = sinusoids(length, channels) if position_encoding else None
        self.register_buffer('position', position, persistent=False)
        self.stem = nn.Sequential(
            *(
                TransformerBlock(channels, heads, level_windows[0], **options)
                for _ in range(blocks)
            )
        )
        self.halvings = nn.ModuleList(
            TransformerBlock(channels, heads, window, stride=2, **options)
            for window in level_windows[1:]
        )
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in level_windows)

    def forward(self, x: Tensor) -> List[Tensor]:
        """Turn features [B, in_channels, T] into levels [B, C, ceil(T / 2^l)]."""
        x = self.embedding(x)
        if self.position is not None:
            x = x + self.position
        levels = [self.stem(x)]
        for block in self.halvings:
            levels.append(block(levels[-1]))
        return [norm(level) for norm, level in zip(self.norms, levels)]


def convolution_tower(in_channels: int, channels: int, count: int) -> nn.Sequential:
    """Build ``count`` times a convolution of three positions, a norm, a ReLU."""
    layers: List[nn.Module] = []
    for i in range(count):
        width = channels if i else in_channels
        # The norm has a bias of its own.
        layers.append(nn.Conv1d(width, channels, 3, padding=1, bias=False))
        layers += [ChannelNorm(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def sinusoids(length: int, channels: int) -> Tensor:
    r"""Compute a transformer's position encoding over the root of its width.

    .. math::
        e_{2c}(t) = \sin(t / 10000^{2c / C}) / \sqrt{C}, \qquad
        e_{2c + 1}(t) = \cos(t / 10000^{2c / C}) / \sqrt{C}

    Returns:
        [channels, length].

    Source: Attention Is All You Need (NeurIPS 2017), Sec. 3.5.
    """
    channel = torch.arange(channels, dtype=torch.float64).view(-1, 1)
    rate = 10000.0 ** (-2 * (channel // 2) / channels)
    angle = rate * torch.arange(length, dtype=torch.float64)
    wave = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    return (wave / channels**0.5).float()


def check_layers(layers: Tuple[int, int, int], length: int) -> Tuple[int, int, int]:
    """Check the three numbers of layers against the length.

    Raises:
        ValueError: If they are not three, or out of range.
    """
    if len(layers) != 3 or layers[0] < 1 or layers[1] < 0 or layers[2] < 0:
        raise ValueError(
            f'layers is {tuple(layers)}; it must be (convolutions, blocks, halvings), '
            'at least (1, 0, 0), such as (2, 2, 5).'
        )
    if length < 2 ** layers[2]:
        raise ValueError(
            f'temporal_length is {length}, which cannot be halved {layers[2]} times; '
            f'it must be at least {2 ** layers[2]}, or the last of layers smaller.'
        )
    convolutions, blocks, halvings = layers
    return convolutions, blocks, halvings


def check_windows(windows: Windows, levels: int) -> List[Optional[int]]:
    """Return a window for each level, checked.

    Raises:
        ValueError: If there are as many windows as no pyramid has levels, or one is
            neither None nor odd.
    """
    if windows is None or isinstance(windows, int):
        found: List[Optional[int]] = [windows] * levels
    else:
        found = list(windows)
    if len(found) != levels:
        raise ValueError(
            f'there are {len(found)} windows and {levels} levels; give one window, '
            'or one for each level.'
        )
    for window in found:
        if window is not None and (window < 3 or window % 2 == 0):
            raise ValueError(
                f'window is {window}; it must be odd and at least 3, such as 19, or '
                'None to attend to all positions.'
            )
    return found
