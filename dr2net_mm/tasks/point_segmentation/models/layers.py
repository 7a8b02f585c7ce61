"""Layers on points whose channels come last, under the names of published weights."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_single(x: Tensor) -> Tensor:
    """Values in float32, or in float64 if they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _ChannelsLast:
    """A 1×1 convolution of points [..., C], as a linear map of their last axis."""

    weight: nn.Parameter
    bias: Optional[nn.Parameter]

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in_channels] to [..., out_channels]."""
        return F.linear(x, self.weight.flatten(1), self.bias)

    def of_joined(self, shared: Tensor, own: Tensor) -> Tensor:
        """Convolve ``[shared, own]`` without joining them.

        Args:
            shared: What the points of a group have in common, [..., 1, C_1].
            own: What each has by itself, [..., K, C_2].

        Returns:
            [..., K, out_channels].
        """
        weight, split = self.weight.flatten(1), shared.shape[-1]
        common = F.linear(shared, weight[:, :split], self.bias)
        return F.linear(own, weight[:, split:]) + common


class PointConv(_ChannelsLast, nn.Conv1d):
    """A 1×1 convolution of points [B, N, C], with the weights of ``Conv1d``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)


class GroupConv(_ChannelsLast, nn.Conv2d):
    """A 1×1 convolution of groups [M, K, C], with the weights of ``Conv2d``."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)


class PointBatchNorm(nn.BatchNorm1d):
    """Batch norm of points [..., C] over all points of all clouds."""

    def forward(self, x: Tensor) -> Tensor:
        """Norm of [..., C]."""
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)
