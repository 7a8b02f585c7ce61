"""P3Embed: points to tokens, by two levels of local neighborhoods."""

from functools import partial
from typing import List, Sequence

import torch
import torch.utils.checkpoint as cp
from torch import Tensor, nn

from .geometry import Level
from .layers import GroupConv
from .operators.gathering import flat_indices

#: Numbers that a piece of groups holds while it is differentiated.
PIECE_VALUES = 1 << 25


class P3Embed(nn.Module):
    """Progressive point-patch embedding.

    On each level, for a center i and its K nearest points j,

        e_j = [p_j − p_i, f_j − f_i]
        h_j = W_2 · ReLU(LN(W_1 e_j)) + b_2,  g = max_j h_j
        z_j = ReLU(LN(W_4 · ReLU(LN(W_3 [g, h_j])))),  f'_i = max_j z_j

    The groups [B, M, K, C] are by far the largest tensors of the network. They are
    worked on for some centers at a time, and ``recompute`` evaluates each such piece
    again in the backward pass, so that there is never more than one of them.

    Args:
        in_channels: Channels of a point that the features begin with.
        widths: Channels D behind each level.

    Source: Pix4Point (3DV 2024), ``P3Embed`` of openpoints.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for width in widths:
            first = nn.Sequential(
                _normed_layer(in_channels + 3, width),
                nn.Sequential(GroupConv(width, width)),
            )
            second = nn.Sequential(
                _normed_layer(2 * width, 2 * width), _normed_layer(2 * width, width)
            )
            self.convs.append(nn.Sequential(first, second))
            in_channels = width
        self.widths = tuple(widths)

    def forward(
        self,
        positions: Tensor,
        features: Tensor,
        levels: Sequence[Level],
        recompute: bool = False,
    ) -> List[Tensor]:
        """Features of every level.

        Args:
            positions: [B, N, 3].
            features: [B, N, in_channels].
            levels: The nested clouds, as many as widths.
            recompute: Whether pieces are evaluated again in the backward pass.

        Returns:
            For each level [B, M, width].
        """
        found: List[Tensor] = []
        for convs, level in zip(self.convs, levels):
            features = self._level(convs, positions, features, level, recompute)
            found.append(features)
            positions = level.positions
        return found

    def _level(
        self,
        convs: nn.Module,
        positions: Tensor,
        features: Tensor,
        level: Level,
        recompute: bool,
    ) -> Tensor:
        batch, points, channels = features.shape
        centers = flat_indices(level.centers, points).view(-1)
        neighbors = flat_indices(level.neighbors, points).flatten(0, 1)
        flat_positions = positions.reshape(-1, 3)
        flat_features = features.reshape(-1, channels)
        width = convs[1][1][0].out_channels
        size = max(1, PIECE_VALUES // (neighbors.shape[1] * 12 * width))
        embed = partial(_embed_groups, convs, flat_positions)
        parts = []
        for own, others in zip(centers.split(size), neighbors.split(size)):
            if recompute:
                part = cp.checkpoint(
                    embed,
                    flat_features,
                    own,
                    others,
                    use_reentrant=False,
                    # There is no dropout.
                    preserve_rng_state=False,
                )
            else:
                part = embed(flat_features, own, others)
            parts.append(part)
        return torch.cat(parts).view(batch, -1, width)


def _normed_layer(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        GroupConv(in_channels, out_channels, bias=False),
        nn.LayerNorm(out_channels),
        nn.ReLU(),
    )


def _embed_groups(
    convs: nn.Module, positions: Tensor, features: Tensor, own: Tensor, others: Tensor
) -> Tensor:
    """Compute new features of some centers.

    Args:
        convs: The two pairs of layers.
        positions: All points, [P, 3].
        features: Their features, [P, C].
        own: Indices of the centers, [G].
        others: Indices of their neighbors, [G, K].

    Returns:
        [G, D].
    """
    edges = [
        values[others.view(-1)].view(*others.shape, -1) - values[own].unsqueeze(1)
        for values in (positions.to(features.dtype), features)
    ]
    first, second = convs
    hidden = first(torch.cat(edges, dim=2))
    conv, norm, activation = second[0]
    group = hidden.max(dim=1, keepdim=True).values
    hidden = activation(norm(conv.of_joined(group, hidden)))
    return second[1](hidden).max(dim=1).values
