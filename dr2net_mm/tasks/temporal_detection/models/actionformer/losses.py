"""Losses of the distances that a point predicts."""

import torch
from torch import Tensor

EPSILON = 1e-8


def distance_iou_loss(
    predicted: Tensor, target: Tensor, center_distance: bool = True
) -> Tensor:
    r"""Compute the overlap loss of two segments from their distances to a point.

    .. math::
        L = 1 - \mathrm{IoU} + \frac{(c_p - c_t)^2}{|h|^2}

    with the centers c and the shortest segment h that holds both (DIoU in one
    dimension). Both segments hold the point, so h is also their union, and GIoU, which
    adds (|h| - |union|) / |h|, is the loss without the last term.

    Args:
        predicted: Distances to start and end, not negative, [..., 2].
        target: Distances of the same kind.
        center_distance: Whether the last term is there: DIoU; without it GIoU.

    Returns:
        Losses [...], float32; 1 where both segments have length zero.

    Source: Distance-IoU Loss (AAAI 2020), Eq. 7; ActionFormer (ECCV 2022).
    """
    predicted, target = predicted.float(), target.float()
    intersection = torch.min(predicted, target).sum(dim=-1)
    union = torch.max(predicted, target).sum(dim=-1).clamp(min=EPSILON)
    loss = 1 - intersection / union
    if center_distance:
        difference = (predicted - target) / 2
        shift = difference[..., 1] - difference[..., 0]
        loss = loss + (shift / union).square()
    return loss
