"""The head of Pix4Point: a class for every point."""

import torch
import torch.utils.checkpoint as cp
from mmengine.registry import MODELS
from torch import Tensor, nn

from .layers import PointConv

#: Points of all clouds of a batch that the head works on at a time.
PIECE_POINTS = 1 << 14


@MODELS.register_module()
class PointSegmentationHead(nn.Module):
    """Logits of points from their features and those of the whole cloud.

        s_i = W_2 · dropout(ReLU(LN(W_1 [CLS, max_j f_j, f_i]))) + b_2

    Args:
        in_channels: Channels of a point.
        cls_channels: Channels of CLS.
        num_classes: Number of classes.
        channels: Hidden channels.
        dropout: Probability to drop a hidden number.

    Source: Pix4Point (3DV 2024), ``SegHead`` of openpoints with ``cls`` and ``max``.
    """

    def __init__(
        self,
        in_channels: int,
        cls_channels: int,
        num_classes: int,
        channels: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        joined = cls_channels + 2 * in_channels
        self.head = nn.Sequential(
            nn.Sequential(
                PointConv(joined, channels, bias=False),
                nn.LayerNorm(channels),
                nn.ReLU(),
            ),
            nn.Dropout(dropout),
            nn.Sequential(PointConv(channels, num_classes)),
        )

    def forward(self, points: Tensor, cls: Tensor, recompute: bool = False) -> Tensor:
        """Logits [B, N, num_classes].

        Args:
            points: Features [B, N, in_channels].
            cls: Token CLS behind the norm, [B, 1, cls_channels].
            recompute: Whether the hidden layer is evaluated again in the backward pass,
                for some points of every cloud at a time.
        """
        largest = points.max(dim=1, keepdim=True).values
        shared = torch.cat([cls.to(points.dtype), largest], dim=2)
        parts = []
        for part in points.split(max(1, PIECE_POINTS // len(points)), dim=1):
            if recompute:
                made = cp.checkpoint(self.logits, part, shared, use_reentrant=False)
            else:
                made = self.logits(part, shared)
            parts.append(made)
        return torch.cat(parts, dim=1)

    def logits(self, points: Tensor, shared: Tensor) -> Tensor:
        """Logits of some points of clouds.

        Args:
            points: Features [B, n, in_channels].
            shared: What the points of a cloud have in common, [B, 1, C].
        """
        (conv, norm, activation), dropout, classify = self.head
        hidden = activation(norm(conv.of_joined(shared, points)))
        return classify(dropout(hidden))
