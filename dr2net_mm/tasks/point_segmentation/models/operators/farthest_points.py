"""Farthest-point sampling."""

import torch
from torch import Tensor

from .checks import check_cloud
from .cuda_kernels import cuda_kernels


@torch.no_grad()
def farthest_points(positions: Tensor, count: int) -> Tensor:
    """Choose points that are far from each other, greedily.

        c_1 = 0,  c_{i+1} = argmax_j min_{k ≤ i} |p_j − p_{c_k}|²

    The first of several points at the same distance is taken. A cloud with fewer
    different points than ``count`` repeats its first one.

    Args:
        positions: [B, N, 3].
        count: Points to choose, 1 to N.

    Returns:
        Indices int64 [B, count], the first of which is 0.

    Raises:
        ValueError: If the shape or the count is not what it should be.
    """
    check_cloud(positions, 'positions')
    batch, points, _ = positions.shape
    if not 1 <= count <= points:
        raise ValueError(
            f'farthest_points was asked for {count} of {points} points; ask for 1 to '
            f'{points}.'
        )
    if positions.is_meta:
        return positions.new_empty((batch, count), dtype=torch.int64)
    kernels = cuda_kernels(positions)
    if kernels is not None:
        chosen = kernels.furthest_point_sample(positions.contiguous(), count)
        return chosen.long()
    # One axis at a time is contiguous, [3, B, N].
    axes = positions.permute(2, 0, 1).contiguous()
    rows = torch.arange(batch, device=positions.device)
    distance = axes.new_full((batch, points), float('inf'))
    chosen = torch.zeros((batch, count), dtype=torch.int64, device=positions.device)
    current = chosen[:, 0]
    for i in range(1, count):
        offset = axes - axes[:, rows, current].unsqueeze(2)
        torch.minimum(distance, offset.square_().sum(0), out=distance)
        current = first_largest(distance)
        chosen[:, i] = current
    return chosen


def first_largest(values: Tensor) -> Tensor:
    """Index of the largest value of each row, of the first of equal ones: [B]."""
    if values.device.type == 'cpu':
        return values.argmax(dim=1)
    # Elsewhere argmax may return any of them.
    largest = values.amax(dim=1, keepdim=True)
    index = torch.arange(values.shape[1], device=values.device)
    return index.masked_fill(values < largest, values.shape[1]).amin(dim=1)
