"""From logits of small maps to binary masks of the original frames."""

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_masks(
    logits: Tensor,
    padded_size: Sequence[int],
    image_size: Sequence[int],
    original_size: Sequence[int],
) -> Tensor:
    """Make masks of the original size: bilinear logits, threshold 1/2, nearest.

    Args:
        logits: [N, Q, h, w].
        padded_size: Height and width that the model saw.
        image_size: Height and width without the padding.
        original_size: Height and width wanted.

    Returns:
        bool [N, Q, H, W].

    Source: MTTR (CVPR 2022), ``models/postprocessing.py``.
    """
    resized = F.interpolate(
        logits.float(), tuple(padded_size), mode='bilinear', align_corners=False
    )
    masks = resized.sigmoid() > 0.5
    masks = masks[..., : image_size[0], : image_size[1]]
    return F.interpolate(masks.float(), tuple(original_size), mode='nearest') > 0.5


def best_trajectory(scores: Tensor) -> Tuple[Tensor, Tensor]:
    """Choose the query that is referred to over a whole video; return its score too.

    Args:
        scores: Probabilities "referred" of T frames, [T, Q].
    """
    means = scores.mean(dim=0)
    best = torch.argmax(means)
    return best, means[best]
