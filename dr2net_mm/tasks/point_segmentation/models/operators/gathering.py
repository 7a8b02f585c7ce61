"""Values of chosen points."""

import torch
from torch import Tensor


def flat_indices(indices: Tensor, points: int) -> Tensor:
    """Turn indices [B, ...] into clouds of N points into ones of all B·N points.

    Args:
        indices: int64 [B, ...].
        points: N.
    """
    batch = indices.shape[0]
    offset = torch.arange(batch, device=indices.device) * points
    return indices + offset.view(batch, *[1] * (indices.dim() - 1))


def gather_points(values: Tensor, indices: Tensor) -> Tensor:
    """Values of chosen points of each cloud.

    Args:
        values: [B, N, C].
        indices: int64 [B, ...].

    Returns:
        [B, ..., C].
    """
    _, points, channels = values.shape
    flat = flat_indices(indices, points).reshape(-1)
    chosen = values.reshape(-1, channels).index_select(0, flat)
    return chosen.view(*indices.shape, channels)
