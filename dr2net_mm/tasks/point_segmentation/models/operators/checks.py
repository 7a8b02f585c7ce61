"""What the operators demand of clouds."""

from torch import Tensor


def check_cloud(positions: Tensor, name: str) -> None:
    """Raise unless positions are [B, N, 3] with at least one point.

    Raises:
        ValueError: Naming the shape.
    """
    if positions.dim() != 3 or positions.shape[2] != 3 or not positions.shape[1]:
        raise ValueError(
            f'{name} must be [B, N, 3] with at least one point in each cloud, got '
            f'{tuple(positions.shape)}.'
        )
