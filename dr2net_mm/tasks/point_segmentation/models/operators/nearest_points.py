"""The nearest points of a cloud."""

from typing import Tuple

import torch
from torch import Tensor

from .checks import check_cloud
from .cuda_kernels import cuda_kernels
from .gathering import gather_points

#: Distances that are computed at a time: memory does not grow with N·M.
CHUNK = 1 << 22

#: What mmcv's kernel takes.
_MOST_NEIGHBORS_OF_KERNEL = 99


@torch.no_grad()
def nearest_points(
    queries: Tensor, positions: Tensor, count: int
) -> Tuple[Tensor, Tensor]:
    """Find the points of a cloud that are nearest to each query.

        |q − p|² = (q_x − p_x)² + (q_y − p_y)² + (q_z − p_z)²

    They come in order of distance; of points at the same distance, as padding makes
    them, the first of the cloud come first. mmcv's CUDA kernel may order those
    otherwise.

    Args:
        queries: [B, M, 3].
        positions: [B, N, 3].
        count: Points for each query, 1 to N.

    Returns:
        Indices int64 [B, M, count], and their squared distances of the type of
        ``positions``, [B, M, count].

    Raises:
        ValueError: If a shape or the count is not what it should be.
    """
    check_cloud(queries, 'queries')
    check_cloud(positions, 'positions')
    batch, points, _ = positions.shape
    if queries.shape[0] != batch:
        raise ValueError(
            f'queries of {queries.shape[0]} clouds and positions of {batch} were '
            'given; their batch has to be the same.'
        )
    if not 1 <= count <= points:
        raise ValueError(
            f'nearest_points was asked for {count} neighbors in a cloud of {points} '
            f'points; ask for 1 to {points}, or give larger clouds.'
        )
    kernels = cuda_kernels(positions)
    if kernels is not None and count <= _MOST_NEIGHBORS_OF_KERNEL:
        found = kernels.knn(count, positions.contiguous(), queries.contiguous())
        indices = found.transpose(1, 2).long()
        return indices, distances_to(queries, positions, indices)
    chunk = max(1, CHUNK // (batch * points))
    parts = [_nearest(part, positions, count) for part in queries.split(chunk, dim=1)]
    indices, distances = (torch.cat(column, dim=1) for column in zip(*parts))
    return indices, distances


def distances_to(queries: Tensor, positions: Tensor, indices: Tensor) -> Tensor:
    """Squared distances from queries [B, M, 3] to points [B, M, K] of a cloud."""
    offset = gather_points(positions, indices) - queries.unsqueeze(2)
    return offset.square_().sum(dim=3)


def _nearest(queries: Tensor, positions: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    batch, points, _ = positions.shape
    distances = positions.new_zeros(batch, queries.shape[1], points)
    for q, p in zip(queries.unbind(2), positions.unbind(2)):
        distances += (q.unsqueeze(2) - p.unsqueeze(1)).square_()
    if positions.dtype != torch.float32:
        ordered, indices = distances.sort(dim=2, stable=True)
        return indices[..., :count].contiguous(), ordered[..., :count].contiguous()
    # The bits of floats that are not negative are ordered as the floats are, so a
    # distance and an index make one integer, and no two of those are equal.
    keys = distances.view(torch.int32).to(torch.int64) << 32
    keys += torch.arange(points, device=positions.device)
    nearest = keys.topk(count, dim=2, largest=False, sorted=True).values
    found = (nearest >> 32).to(torch.int32).view(torch.float32)
    return nearest & 0xFFFFFFFF, found
