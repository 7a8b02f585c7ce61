"""Temporal segments ``[start, end]``: overlap and suppression of duplicates.

A segment is a pair of numbers on one time axis, in any unit; its length is
``end - start``. The functions work on whole tensors of segments, on any device, and
compute in float32 or wider whatever the precision of their arguments.
"""

import math
from typing import Optional, Tuple

import torch
from torch import Tensor

SOFT_NMS_METHODS = ('gaussian', 'linear', 'hard')


def segment_iou(a: Tensor, b: Tensor) -> Tensor:
    r"""Compute the IoU of every segment of one set with every one of another.

    .. math::
        \mathrm{IoU}(a, b) = \frac{|a \cap b|}{|a| + |b| - |a \cap b|}

    and zero where both segments have length zero.

    Args:
        a: Segments, [N, 2].
        b: Segments, [M, 2], in the same unit.

    Returns:
        IoU in [0, 1], [N, M].

    Raises:
        ValueError: An argument is not [N, 2], or holds a segment that ends before it
            starts.
    """
    a, b = _checked('a', a), _checked('b', b)
    intersection, union, _ = _overlap(a[:, None], b[None])
    return intersection / _positive(union)


def segment_giou(a: Tensor, b: Tensor) -> Tensor:
    r"""Compute the generalized IoU of segments, pair by pair.

    .. math::
        \mathrm{GIoU}(a, b) = \mathrm{IoU}(a, b) - \frac{|h| - |a \cup b|}{|h|}

    with :math:`h` the shortest segment that holds both, and zero where that has length
    zero (Rezatofighi et al., CVPR 2019, in one dimension).

    Args:
        a: Segments, [N, 2].
        b: Segments, [N, 2], in the same unit.

    Returns:
        GIoU in (-1, 1], [N].

    Raises:
        ValueError: An argument is not [N, 2], holds a segment that ends before it
            starts, or the two differ in length.
    """
    a, b = _checked('a', a), _checked('b', b)
    if len(a) != len(b):
        raise ValueError(
            f'GIoU is computed pair by pair, but there are {len(a)} segments in a and '
            f'{len(b)} in b; give both the same number.'
        )
    intersection, union, hull = _overlap(a, b)
    return intersection / _positive(union) - (hull - union) / _positive(hull)


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    sigma: float = 0.5,
    min_score: float = 1e-3,
    max_num: Optional[int] = None,
    method: str = 'gaussian',
    iou_threshold: float = 0.5,
) -> Tuple[Tensor, Tensor, Tensor]:
    r"""Choose segments by falling score, lowering the score of those that overlap.

    The segment :math:`m` with the highest score left is chosen, then every other score
    is multiplied by the decay, and so on (Bodla et al., ICCV 2017):

    ========== =================================================================
    method     decay of segment i
    ========== =================================================================
    gaussian   :math:`\exp(-\mathrm{IoU}(m, i)^2 / \sigma)`
    linear     :math:`1 - \mathrm{IoU}(m, i)` above ``iou_threshold``, else 1
    hard       0 above ``iou_threshold``, else 1 (plain NMS)
    ========== =================================================================

    The number of steps does not depend on the scores, so that nothing waits for the
    device before the end.

    Args:
        segments: Segments, [N, 2].
        scores: Their scores, not negative, [N].
        sigma: Width of the Gaussian decay, positive.
        min_score: Chosen segments whose lowered score is not above it are left out.
        max_num: Most segments to choose. Default None: all.
        method: ``gaussian``, ``linear`` or ``hard``.
        iou_threshold: IoU above which ``linear`` and ``hard`` lower a score.

    Returns:
        The chosen segments [K, 2] and their lowered scores [K], by falling score, and
        their positions [K] in ``segments``.

    Raises:
        ValueError: A shape is wrong, a segment ends before it starts, a score is
            negative or NaN, or an option is out of its range.
    """
    _check_nms_options(sigma, min_score, max_num, method)
    if scores.shape != segments.shape[:1]:
        raise ValueError(
            f'scores must be [{len(segments)}], one a segment, but have the shape '
            f'{list(scores.shape)}.'
        )
    if not bool((scores >= 0).all()):
        raise ValueError(
            'soft-NMS multiplies scores by numbers in [0, 1], so that they must not be '
            f'negative or NaN, but the lowest of them is {float(scores.min()):g}.'
        )
    spans = _checked('segments', segments).detach()
    left = scores.detach().to(spans.dtype).clone()
    steps = len(spans) if max_num is None else min(max_num, len(spans))
    chosen = spans.new_zeros(steps, dtype=torch.long)
    lowered = spans.new_zeros(steps)
    for step in range(steps):
        best = left.argmax().view(1)
        chosen[step : step + 1] = best
        lowered[step : step + 1] = left[best]
        intersection, union, _ = _overlap(spans[best], spans)
        left *= _decay(intersection / _positive(union), sigma, method, iou_threshold)
        # Below every score, zero included, so that no segment is chosen twice.
        left[best] = -math.inf
    keep = lowered > min_score
    index = chosen[keep]
    return segments[index], lowered[keep].to(scores.dtype), index


def _decay(iou: Tensor, sigma: float, method: str, threshold: float) -> Tensor:
    if method == 'gaussian':
        return torch.exp(-iou.square() / sigma)
    overlapping = iou > threshold
    reduced = 1 - iou if method == 'linear' else torch.zeros_like(iou)
    return torch.where(overlapping, reduced, torch.ones_like(iou))


def _overlap(a: Tensor, b: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Compute lengths of intersection, union and hull, with broadcasting."""
    intersection = torch.min(a[..., 1], b[..., 1]) - torch.max(a[..., 0], b[..., 0])
    intersection = intersection.clamp(min=0)
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - intersection
    hull = torch.max(a[..., 1], b[..., 1]) - torch.min(a[..., 0], b[..., 0])
    return intersection, union, hull


def _positive(length: Tensor) -> Tensor:
    return length.clamp(min=torch.finfo(length.dtype).tiny)


def _checked(name: str, segments: Tensor) -> Tensor:
    """Convert segments to float32 or wider; raise if they are invalid."""
    if segments.dim() != 2 or segments.shape[1] != 2:
        raise ValueError(
            f'{name} must be [N, 2], a start and an end a row, but has the shape '
            f'{list(segments.shape)}.'
        )
    reversed_rows = segments[:, 1] < segments[:, 0]
    if bool(reversed_rows.any()):
        row = int(reversed_rows.nonzero()[0])
        raise ValueError(
            f'{name}[{row}] = {segments[row].tolist()} ends before it starts; '
            'a segment is [start, end] with start <= end.'
        )
    return segments if segments.dtype == torch.float64 else segments.float()


def _check_nms_options(
    sigma: float, min_score: float, max_num: Optional[int], method: str
) -> None:
    if method not in SOFT_NMS_METHODS:
        raise ValueError(
            f'There is no soft-NMS method {method!r}; use one of {SOFT_NMS_METHODS}.'
        )
    if not sigma > 0:
        raise ValueError(f'sigma must be positive, but is {sigma}.')
    if not min_score >= 0:
        raise ValueError(f'min_score must be 0 or more, but is {min_score}.')
    if max_num is not None and max_num < 1:
        raise ValueError(f'max_num must be None or at least 1, but is {max_num}.')
