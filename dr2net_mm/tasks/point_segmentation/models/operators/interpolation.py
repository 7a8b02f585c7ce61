"""Interpolation between the three nearest points of a cloud."""

from typing import Tuple

import torch
from torch import Tensor

from .gathering import gather_points
from .nearest_points import nearest_points

NEIGHBORS = 3

#: Added to distances, meters: a point at the place of another one takes its value.
EPSILON = 1e-8


@torch.no_grad()
def interpolation_weights(queries: Tensor, positions: Tensor) -> Tuple[Tensor, Tensor]:
    """Neighbors of each query in a cloud, and their weights.

        w_k ∝ 1 / (|q − p_k| + 1e-8),  Σ_k w_k = 1,  k = 1 … 3

    They have the type of the positions, also under autocast. A cloud of fewer than
    three points gives as many neighbors.

    Args:
        queries: [B, M, 3].
        positions: [B, N, 3].

    Returns:
        Indices int64 [B, M, K] and weights [B, M, K], K = min(3, N).
    """
    count = min(NEIGHBORS, positions.shape[1])
    indices, squares = nearest_points(queries, positions, count)
    inverse = (squares.sqrt_() + EPSILON).reciprocal_()
    return indices, inverse / inverse.sum(dim=2, keepdim=True)


def interpolate(values: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of values of neighbors, ``Σ_k w_k v_k``.

    Args:
        values: [B, N, C]; the result is differentiable in them.
        indices: Of :func:`interpolation_weights`, [B, M, K].
        weights: Of the same, [B, M, K].

    Returns:
        [B, M, C] in the type of ``values``, added up in that of the weights.
    """
    # One neighbor after the other: all at once would take three times the memory.
    total = gather_points(values, indices[..., 0]) * weights[..., :1]
    for k in range(1, indices.shape[2]):
        near = gather_points(values, indices[..., k])
        total = torch.addcmul(total, near, weights[..., k : k + 1])
    return total.to(values.dtype)
