"""Encoder of VSGN: a temporal pyramid, with or without a graph at each level."""

from typing import List

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def nearest_neighbors(features: Tensor, count: int) -> Tensor:
    """Find the nearest features of the same video, by Euclidean distance.

    A position is always one of its own neighbors, as in the released code.

    Args:
        features: [B, C, T].
        count: Neighbors of each position; all T of them where T is smaller.

    Returns:
        Positions in [0, T), [B, T, min(count, T)], nearest first.
    """
    # Distances from differences: the matrix product loses the small ones in rounding,
    # and [B, C, T, T], which plain broadcasting would make, is gigabytes.
    points = features.detach().float().transpose(1, 2)
    distances = torch.cdist(points, points, compute_mode='donot_use_mm_for_euclid_dist')
    count = min(count, points.shape[1])
    return distances.topk(count, dim=-1, largest=False).indices


class GraphConvolution(nn.Module):
    r"""Maximum over the edges to the nearest neighbors in feature space.

    .. math::
        y_i = \max_{j \in \mathrm{kNN}(i)} W [x_j, x_i] + b

    The two halves of :math:`W` are applied before the neighbors are gathered,
    :math:`\max_j (W_1 x_j) + W_2 x_i + b`, which gives the same numbers for a k-th of
    the products and without the [B, T, k, 2C] tensor of edge features.

    Args:
        channels: C.
        num_neighbors: k.
    """

    def __init__(self, channels: int, num_neighbors: int = 10) -> None:
        super().__init__()
        self.num_neighbors = num_neighbors
        self.edge = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        index = nearest_neighbors(x, self.num_neighbors)  # [B, T, k]
        batch = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        tokens = x.transpose(1, 2)  # [B, T, C]
        neighbor_weight, center_weight = self.edge.weight.chunk(2, dim=1)
        neighbors = F.linear(tokens, neighbor_weight)[batch, index]  # [B, T, k, C]
        center = F.linear(tokens, center_weight, self.edge.bias)
        return (neighbors.max(dim=2).values + center).transpose(1, 2)


class GraphLevel(nn.Module):
    r"""Level with xGN: a convolution beside a graph, then a pool that halves time.

    .. math::
        y = \mathrm{maxpool}_{3, s2}(\mathrm{ReLU}(\mathrm{conv}_3(x)
            + \mathrm{graph}(x)))

    Args:
        channels: Channels in and out.
        num_neighbors: Neighbors of each position in the graph.
    """

    def __init__(self, channels: int, num_neighbors: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)
        self.graph = GraphConvolution(channels, num_neighbors)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T / 2]."""
        x = F.relu(self.conv(x) + self.graph(x))
        return F.max_pool1d(x, kernel_size=3, stride=2, padding=1)


class PyramidEncoder(nn.Module):
    """Convolution at the input's length, then levels that halve it one after another.

    Args:
        in_channels: Channels of the video features.
        channels: Channels of every level.
        num_levels: Levels L, at strides 2, 4, …, 2^L.
        use_graph: Levels with the graph (:class:`GraphLevel`); without it a level is a
            convolution of stride 2 and a ReLU.
        num_neighbors: Neighbors of each position in the graph.

    Source: VSGN (ICCV 2021), Sec. 3.3; settings of OpenTAD's ``VSGNPyramidProj``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int = 256,
        num_levels: int = 5,
        use_graph: bool = True,
        num_neighbors: int = 10,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(in_channels, channels, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.levels = nn.ModuleList()
        for _ in range(num_levels):
            if use_graph:
                level: nn.Module = GraphLevel(channels, num_neighbors)
            else:
                level = nn.Sequential(
                    nn.Conv1d(channels, channels, 3, stride=2, padding=1),
                    nn.ReLU(inplace=True),
                )
            self.levels.append(level)

    def forward(self, x: Tensor) -> List[Tensor]:
        """Map [B, in_channels, T] to L maps [B, channels, T / 2^l], finest first."""
        x = self.stem(x)
        levels = []
        for level in self.levels:
            x = level(x)
            levels.append(x)
        return levels
