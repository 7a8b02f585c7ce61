"""Losses of VSGN besides the focal loss, which all localizers share."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dr2net_mm.tasks.temporal_detection.segments import segment_giou


def ordered(segments: Tensor) -> Tensor:
    """Swap the ends of segments where the second comes first."""
    return torch.stack((segments.amin(dim=-1), segments.amax(dim=-1)), dim=-1)


def giou_loss(segments: Tensor, targets: Tensor) -> Tensor:
    r"""Sum of :math:`1 - \mathrm{GIoU}` over pairs of segments; zero for none.

    Args:
        segments: Predictions, [N, 2], of which the lower number is the start.
        targets: Ground truth, [N, 2].
    """
    return (1 - segment_giou(ordered(segments), targets)).sum()


def balanced_bce(logits: Tensor, positive: Tensor) -> Tensor:
    r"""Compute binary cross-entropy with balanced positives and negatives.

    .. math::
        \frac{1}{n} \sum_i w_i \, \mathrm{BCE}(p_i, t_i), \qquad
        w_i = \frac{n}{2 n_+} \text{ or } \frac{n}{2 n_-}

    and the plain mean where there are positives only or negatives only.

    Args:
        logits: Any shape.
        positive: Whether each is positive, bool of the same shape.

    Returns:
        A number without dimensions, float32.
    """
    logits = logits.float()
    targets = positive.to(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    total, count = targets.numel(), targets.sum()
    rest = total - count
    weights = torch.where(
        positive, total / (2 * count.clamp(min=1)), total / (2 * rest.clamp(min=1))
    )
    both = (count > 0) & (rest > 0)
    return (torch.where(both, weights, torch.ones_like(weights)) * entropy).mean()
