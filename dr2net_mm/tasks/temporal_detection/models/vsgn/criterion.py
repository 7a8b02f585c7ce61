"""All losses of VSGN from its outputs and the ground truth."""

from typing import Dict, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from ..common import GroundTruth, LossNormalizer, sigmoid_focal_loss
from .boundary import BoundaryScores
from .losses import balanced_bce, giou_loss
from .targets import Assignment, assign, boundary_targets

LOSS_NAMES = ('cls', 'reg', 'start', 'end', 'action', 'adjust')


class VSGNOutputs(NamedTuple):
    """Raw outputs for a batch of B videos, N anchors and K classes.

    Attributes:
        logits: Class logits of the proposals, [B, N, K].
        proposals: Segments of the first stage, [B, N, 2] in cells.
        boundaries: Logits of start, end and action, [B, 3, T].
        adjusted: The proposals moved to their boundaries, [B, N, 2] in cells.
    """

    logits: Tensor
    proposals: Tensor
    boundaries: Tensor
    adjusted: Tensor


class VSGNCriterion(nn.Module):
    r"""Losses of both stages.

    ============ ======================================================================
    loss_reg     GIoU of the first stage's segments whose **anchor** matches a ground
                 truth (IoU at least ``match_iou``)
    loss_cls     sigmoid focal loss of all proposals; positive are those whose
                 **decoded** segment matches (IoU at least ``match_iou``)
    loss_start   balanced cross-entropy of the boundary scores of all cells; positive
    loss_end     are cells of which more than ``boundary_threshold`` is covered, see
    loss_action  :func:`.targets.boundary_targets`
    loss_adjust  GIoU of the adjusted segments whose decoded segment matches (IoU at
                 least ``adjust_iou``)
    ============ ======================================================================

    ``loss_reg``, ``loss_cls`` and ``loss_adjust`` are sums, each divided by the moving
    average of its number of positives (:class:`LossNormalizer`).

    Args:
        match_iou: Lowest IoU of a match of the first stage.
        adjust_iou: Lowest IoU of a match of the second stage.
        boundary_threshold: Share of a cell above which it is positive.
        focal_alpha: Weight of positives in the focal loss.
        focal_gamma: Exponent of the focal loss.
        normalizer: Arguments of the three :class:`LossNormalizer`.
        weights: Weights of the losses by name (``cls``, ``reg``, ``start``, ``end``,
            ``action``, ``adjust``); 1 where there is none, as in OpenTAD. The original
            code gives 0.2 to each boundary term.

    Raises:
        ValueError: A threshold is outside [0, 1], or a weight has an unknown name or is
            negative.
    """

    def __init__(
        self,
        match_iou: float = 0.6,
        adjust_iou: float = 0.7,
        boundary_threshold: float = 0.5,
        focal_alpha: float = 0.35,
        focal_gamma: float = 2.0,
        normalizer: Optional[dict] = None,
        weights: Optional[Dict[str, float]] = None,
    ) -> None:
        super().__init__()
        thresholds = dict(
            match_iou=match_iou,
            adjust_iou=adjust_iou,
            boundary_threshold=boundary_threshold,
        )
        for name, value in thresholds.items():
            if not 0 <= value <= 1:
                raise ValueError(f'{name} is {value}; it must be in [0, 1].')
        for name, value in (weights or {}).items():
            if name not in LOSS_NAMES:
                raise ValueError(
                    f'there is no loss {name!r} to weigh; use {", ".join(LOSS_NAMES)}.'
                )
            if not value >= 0:
                raise ValueError(f'the weight of {name!r} is {value}; it must be >= 0.')
        self.match_iou = match_iou
        self.adjust_iou = adjust_iou
        self.boundary_threshold = boundary_threshold
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.weights = {**dict.fromkeys(LOSS_NAMES, 1.0), **(weights or {})}
        self.normalizers = nn.ModuleDict(
            {
                name: LossNormalizer(**(normalizer or {}))
                for name in ('cls', 'reg', 'adjust')
            }
        )

    def forward(
        self, outputs: VSGNOutputs, anchors: Tensor, truths: Sequence[GroundTruth]
    ) -> Dict[str, Tensor]:
        """Compute the weighted losses by name.

        Args:
            outputs: Outputs of the model.
            anchors: [N, 2] in cells.
            truths: Ground truth of each video, segments in cells.
        """
        anchors = anchors.expand_as(outputs.proposals)
        by_anchor = assign(anchors, truths, self.match_iou)
        by_proposal = assign(outputs.proposals, truths, self.match_iou)
        by_boundary = assign(outputs.proposals, truths, self.adjust_iou)
        losses = dict(
            cls=self._classes(outputs.logits, by_proposal),
            reg=self._segments('reg', outputs.proposals, by_anchor),
            **self._boundaries(outputs.boundaries, truths),
            adjust=self._segments('adjust', outputs.adjusted, by_boundary),
        )
        return {
            f'loss_{name}': self.weights[name] * loss for name, loss in losses.items()
        }

    def _classes(self, logits: Tensor, assignment: Assignment) -> Tensor:
        targets = torch.zeros_like(logits, dtype=torch.float32)
        targets.scatter_(2, assignment.labels[..., None], 1)
        targets *= assignment.positive[..., None]
        loss = sigmoid_focal_loss(logits, targets, self.focal_alpha, self.focal_gamma)
        return loss.sum() / self.normalizers['cls'](assignment.positive.sum())

    def _segments(self, name: str, segments: Tensor, assignment: Assignment) -> Tensor:
        positive = assignment.positive
        loss = giou_loss(segments[positive], assignment.segments[positive])
        return loss / self.normalizers[name](positive.sum())

    def _boundaries(
        self, logits: Tensor, truths: Sequence[GroundTruth]
    ) -> Dict[str, Tensor]:
        length = logits.shape[-1]
        covered = torch.stack(
            [boundary_targets(truth.segments, length) for truth in truths]
        )
        positive = covered > self.boundary_threshold
        return {
            kind: balanced_bce(logits[:, i], positive[:, i])
            for i, kind in enumerate(BoundaryScores.kinds)
        }
