"""Cosines between features at (alpha, beta) and those of the pretrained network."""

from typing import Any, Dict, Iterator, List, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dr2net_mm.backbones.base.outputs import output_list

Pair = Tuple[float, float]

#: (1, 0), which is the pretrained network exactly.
PRETRAINED: Pair = (1.0, 0.0)

#: The paper's line, and the line alpha + beta = 1.
PAIRS: Tuple[Pair, ...] = (
    (1.0, 0.004),
    (1.0, 0.01),
    (1.0, 0.03),
    (1.0, 0.05),
    (1.0, 0.1),
    (0.7, 0.4),
    (0.0, 1.0),
    (0.99, 0.01),
    (0.97, 0.03),
    (0.9, 0.1),
    (0.8, 0.2),
    (0.7, 0.3),
    (0.5, 0.5),
    (0.3, 0.7),
)


def gain(alpha: float, beta: float) -> float:
    r"""Return the growth of a stream from one branch to the next.

    The larger root of :math:`\lambda^2 = \alpha \lambda + \beta`: without the branches
    a stream obeys :math:`x_i = \alpha x_{i-1} + \beta x_{i-2}`.
    """
    return (alpha + (alpha * alpha + 4 * beta) ** 0.5) / 2


def proximity(
    backbone: nn.Module,
    batches: Sequence[Tensor],
    pairs: Sequence[Pair] = PAIRS,
) -> Iterator[Dict[str, Any]]:
    """Compare the features of a backbone, as it is, at several (alpha, beta).

    The feature of an image is the mean over the positions of the last feature map. The
    cosine is that between the features at (alpha, beta) and at (1, 0), the mean over
    the images. The backbone is left at (1, 0).

    Args:
        backbone: A dual-residual one with its weights, in evaluation mode.
        batches: Inputs [B, 3, ...].
        pairs: The points (alpha, beta).

    Yields:
        Dictionaries with ``alpha``, ``beta``, ``gain`` (:func:`gain`), ``cosine`` and
        ``images``.
    """
    pretrained = _features(backbone, batches, PRETRAINED)
    for alpha, beta in pairs:
        features = _features(backbone, batches, (alpha, beta))
        cosine = functional.cosine_similarity(features, pretrained, dim=1)
        yield dict(
            alpha=alpha,
            beta=beta,
            gain=gain(alpha, beta),
            cosine=float(cosine.mean()),
            images=len(features),
        )
    backbone.set_coefficients(*PRETRAINED)


def _features(backbone: nn.Module, batches: Sequence[Tensor], pair: Pair) -> Tensor:
    """Return the means [N, C] of the last feature maps, in float64."""
    backbone.set_coefficients(*pair)
    found: List[Tensor] = []
    with torch.no_grad():
        for batch in batches:
            last = output_list(backbone(batch))[-1]
            found.append(last.double().flatten(2).mean(dim=2))
    return torch.cat(found)
