"""From scores and segments at the points to the proposals of a video."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from dr2net_mm.tasks.temporal_detection.segments import segment_iou, soft_nms


class Proposals(NamedTuple):
    """Segments [n, 2], scores [n] and classes [n], by falling score."""

    segments: Tensor
    scores: Tensor
    labels: Tensor


class SegmentDecoder:
    """Choice of proposals: threshold, soft-NMS within each class, and voting.

    Args:
        score_threshold: Scores that are not above it are left out before the NMS.
        pre_nms_top_k: Most pairs of a point and a class that the NMS sees.
        min_length: Segments that are not longer, in cells, are left out.
        sigma: Width of the Gaussian of the soft-NMS.
        min_score: Scores that are not above it after the NMS are left out.
        max_num: Most proposals of a video.
        voting_threshold: Every chosen segment becomes the mean of the segments of its
            class whose IoU with it is at least this, weighted with score times IoU.
            None leaves them as they are.

    Raises:
        ValueError: If an argument is outside its range.

    Source: ActionFormer (ECCV 2022); OpenTAD ``post_processing``.
    """

    def __init__(
        self,
        score_threshold: float = 1e-3,
        pre_nms_top_k: int = 2000,
        min_length: float = 0.05,
        sigma: float = 0.5,
        min_score: float = 1e-3,
        max_num: int = 100,
        voting_threshold: Optional[float] = 0.7,
    ) -> None:
        for name, count in (('pre_nms_top_k', pre_nms_top_k), ('max_num', max_num)):
            if count < 1:
                raise ValueError(f'{name} is {count}; it must be at least 1.')
        for name, value in (
            ('score_threshold', score_threshold),
            ('min_score', min_score),
            ('min_length', min_length),
        ):
            if value < 0:
                raise ValueError(f'{name} is {value}; it must be at least 0.')
        if not sigma > 0:
            raise ValueError(f'sigma is {sigma}; it must be above 0, such as 0.5.')
        if voting_threshold is not None and not 0 < voting_threshold <= 1:
            raise ValueError(
                f'voting_threshold is {voting_threshold}; it must be in (0, 1], or '
                'None for no voting.'
            )
        self.score_threshold = score_threshold
        self.pre_nms_top_k = pre_nms_top_k
        self.min_length = min_length
        self.sigma = sigma
        self.min_score = min_score
        self.max_num = max_num
        self.voting_threshold = voting_threshold

    def __call__(self, segments: Tensor, scores: Tensor, length: float) -> Proposals:
        """Decode the proposals of one video.

        Args:
            segments: [N, 2] in cells.
            scores: Scores in [0, 1] of the classes at each point, [N, K].
            length: Length of the video in cells; segments are cut to it.
        """
        num_classes = scores.shape[1]
        scores, order = scores.flatten().sort(descending=True, stable=True)
        order = order[scores > self.score_threshold][: self.pre_nms_top_k]
        labels = order % num_classes
        point = torch.div(order, num_classes, rounding_mode='floor')
        found = segments[point].clamp(0, length)
        long = found[:, 1] - found[:, 0] > self.min_length
        found, labels = found[long], labels[long]
        scores = scores[: len(order)][long]
        # Each class on a stretch of the time axis of its own: classes do not meet.
        shift = (labels.double() * 2 * length).unsqueeze(1)
        spans = found.double() + shift
        chosen, lowered, index = soft_nms(
            spans, scores, self.sigma, self.min_score, self.max_num
        )
        if self.voting_threshold is not None:
            chosen = vote(chosen, spans, scores, self.voting_threshold)
        return Proposals((chosen - shift[index]).float(), lowered, labels[index])


def vote(chosen: Tensor, segments: Tensor, scores: Tensor, threshold: float) -> Tensor:
    r"""Average the segments that overlap each chosen one.

    .. math::
        \bar{s}_i = \frac{\sum_j w_{ij} s_j}{\sum_j w_{ij}}, \qquad
        w_{ij} = p_j \, \mathrm{IoU}_{ij} \, [\mathrm{IoU}_{ij} \ge threshold]

    Args:
        chosen: [n, 2], each of which is one of ``segments``.
        segments: [N, 2].
        scores: p, above zero, [N].
        threshold: Least IoU of a segment that counts.

    Returns:
        [n, 2].

    Source: Gidaris and Komodakis (ICCV 2015); ActionFormer's release.
    """
    overlap = segment_iou(chosen, segments)
    counts = torch.where(overlap >= threshold, overlap, torch.zeros_like(overlap))
    weights = counts * scores.to(counts.dtype)
    return (weights / weights.sum(dim=1, keepdim=True)) @ segments
