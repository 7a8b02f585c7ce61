"""Transformer blocks over time, with local windows and downsampling."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of [B, C, T]."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the channels of [B, C, T]."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ScaledDropPath(nn.Module):
    """A learned scale of every channel, and stochastic depth of whole videos.

    Args:
        channels: C of [B, C, T].
        drop_prob: Probability that a video skips the branch during training; the
            others are scaled up by 1 / (1 - drop_prob).
        initial: First value of the scales.

    Source: Going deeper with Image Transformers (ICCV 2021), Sec. 2.
    """

    def __init__(self, channels: int, drop_prob: float, initial: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.scale = nn.Parameter(torch.full((channels, 1), float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the branch, and drop it for some videos while training."""
        x = x * self.scale
        if not self.training or self.drop_prob == 0:
            return x
        kept = x.new_empty(len(x), 1, 1).bernoulli_(1 - self.drop_prob)
        return x * (kept / (1 - self.drop_prob))

    def extra_repr(self) -> str:
        """Show the values in the text of the module."""
        return f'drop_prob={self.drop_prob}'


def local_attention(
    query: Tensor, key: Tensor, value: Tensor, window: Optional[int]
) -> Tensor:
    r"""Compute attention in which every position sees the window around it.

    .. math::
        o_i = \sum_{|i - j| \le w/2} \mathrm{softmax}_j(q_i k_j / \sqrt{D}) \, v_j

    Queries are cut into blocks of half a window, and each block attends to itself and
    the blocks beside it, so that memory grows with T · window and not with T².

    Args:
        query: [B, heads, T, D].
        key: [B, heads, T, D].
        value: [B, heads, T, D].
        window: w, odd; None for all positions.

    Returns:
        [B, heads, T, D].
    """
    length, reach = query.shape[2], 0 if window is None else window // 2
    if window is None or reach >= length - 1:
        return F.scaled_dot_product_attention(query, key, value)
    blocks = -(-length // reach)
    spare = blocks * reach - length
    query = F.pad(query, (0, 0, 0, spare)).unflatten(2, (blocks, reach))
    # [B, heads, blocks, 3·reach, D]: each block and its neighbors.
    key, value = (
        F.pad(x, (0, 0, reach, reach + spare))
        .unfold(2, 3 * reach, reach)
        .transpose(-1, -2)
        for x in (key, value)
    )
    mask = window_mask(length, blocks, reach, query.device)
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return output.flatten(2, 3)[:, :, :length]


def window_mask(length: int, blocks: int, reach: int, device: torch.device) -> Tensor:
    """Return which keys each query sees, [blocks, reach, 3·reach]."""
    start = torch.arange(blocks, device=device).view(-1, 1, 1) * reach
    query = start + torch.arange(reach, device=device).view(1, -1, 1)
    key = start + torch.arange(-reach, 2 * reach, device=device).view(1, 1, -1)
    seen = ((query - key).abs() <= reach) & (key >= 0) & (key < length)
    # Queries that only fill the last block see anything: a softmax needs something.
    return seen | (query >= length)


class LocalSelfAttention(nn.Module):
    """Self-attention over time behind depthwise convolutions, which may downsample.

    Args:
        channels: C, a multiple of ``heads``.
        heads: Number of attention heads.
        window: Window in positions of the output, odd; None for all positions.
        stride: 1, or 2 to halve the length.
        dropout: Probability of dropout behind the output layer.

    Source: ActionFormer (ECCV 2022).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Optional[int],
        stride: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.query, self.key, self.value = (
            nn.Sequential(
                nn.Conv1d(
                    channels, channels, 3, stride, 1, groups=channels, bias=False
                ),
                ChannelNorm(channels),
                nn.Conv1d(channels, channels, 1),
            )
            for _ in range(3)
        )
        self.output = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, ceil(T / stride)]."""
        query, key, value = (
            layers(x).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for layers in (self.query, self.key, self.value)
        )
        seen = local_attention(query, key, value, self.window)
        return self.dropout(self.output(seen.transpose(2, 3).flatten(1, 2)))


class TransformerBlock(nn.Module):
    r"""A pre-norm transformer block, with a maximum on the skip where it downsamples.

    .. math::
        x' = \mathrm{skip}(x) + g_1 \cdot \mathrm{attention}(\mathrm{norm}(x)), \qquad
        y = x' + g_2 \cdot \mathrm{mlp}(\mathrm{norm}(x'))

    Args:
        channels: C.
        heads: Number of attention heads.
        window: Window of the attention, odd; None for all positions.
        stride: 1, or 2 to halve the length.
        dropout: Probability of dropout in both branches.
        drop_path: Probability that a video skips a branch.
        layer_scale: First value of the gains g.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: Optional[int],
        stride: int = 1,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
    ) -> None:
        super().__init__()
        self.skip = nn.Identity() if stride == 1 else nn.MaxPool1d(3, stride, 1)
        self.attention = nn.Sequential(
            ChannelNorm(channels),
            LocalSelfAttention(channels, heads, window, stride, dropout),
            ScaledDropPath(channels, drop_path, layer_scale),
        )
        self.mlp = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv1d(channels, 4 * channels, 1),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv1d(4 * channels, channels, 1),
            nn.Dropout(dropout),
            ScaledDropPath(channels, drop_path, layer_scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, ceil(T / stride)]."""
        x = self.skip(x) + self.attention(x)
        return x + self.mlp(x)
