"""The set loss of MTTR: which query is referred to, and its mask in every frame."""

from typing import Dict, List, NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from mmdet.models.losses import DiceLoss, FocalLoss
from mmengine.dist import all_reduce
from torch import Tensor, nn

from .trajectory_assigner import MTTR_COSTS, Costs, TrajectoryAssigner

REFERRED, NOT_REFERRED = 0, 1


class Predictions(NamedTuple):
    """Outputs of one decoder layer for B samples of T annotated frames.

    Attributes:
        scores: Logits of "referred" and "not", [B, T, Q, 2].
        masks: Logits of the pixels, [B, T, Q, h, w].
    """

    scores: Tensor
    masks: Tensor


class Target(NamedTuple):
    """Ground truth of one sample.

    Attributes:
        masks: Instances in the annotated frames, padded to the size of the batch;
            bool [T, G, H, W].
        referred: Whether the sentence means the instance; bool [G].
        visible: Whether the instance can be seen; bool [T, G], or None where every
            frame counts.
    """

    masks: Tensor
    referred: Tensor
    visible: Optional[Tensor] = None

    def labels(self) -> Tensor:
        """Return 0 where an instance is referred to and visible, else 1; [T, G]."""
        shown = self.referred.expand(len(self.masks), -1)
        if self.visible is not None:
            shown = shown & self.visible
        return torch.where(shown, REFERRED, NOT_REFERRED)


class MTTRCriterion(nn.Module):
    """Matching and losses, for every decoder layer by itself.

        L = w_r·referred + w_f·focal + w_d·dice

    ``referred`` is the cross entropy of all queries, 1 for the one that is matched to
    the referred instance and ``not_referred_weight`` for all others, summed and divided
    by the frames of the batch. ``focal`` is the mean over pixels and ``dice`` is
    1 − (2Σpg + 1) / (Σp + Σg + 1), both summed over matched pairs and divided by the
    number of instances over all frames (averaged over ranks, at least 1).

    Args:
        not_referred_weight: Weight of queries that are not referred to.
        referred_loss_weight: w_r.
        focal_loss_weight: w_f.
        dice_loss_weight: w_d.
        costs: Costs of the matching, see :class:`.TrajectoryAssigner`.

    Source: MTTR (CVPR 2022), Sec. 3.5; ``models/criterion.py``.
    """

    def __init__(
        self,
        not_referred_weight: float = 0.1,
        referred_loss_weight: float = 2.0,
        focal_loss_weight: float = 2.0,
        dice_loss_weight: float = 5.0,
        costs: Costs = MTTR_COSTS,
    ) -> None:
        super().__init__()
        self.not_referred_weight = not_referred_weight
        self.referred_loss_weight = referred_loss_weight
        self.assigner = TrajectoryAssigner(costs)
        self.focal_loss = FocalLoss(
            use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=focal_loss_weight
        )
        self.dice_loss = DiceLoss(
            naive_dice=True, eps=1.0, loss_weight=dice_loss_weight
        )

    def forward(
        self, layers: Sequence[Predictions], targets: Sequence[Target]
    ) -> Dict[str, Tensor]:
        """Compute the losses of all decoder layers, the last one's without a prefix.

        Args:
            layers: Predictions of the decoder layers.
            targets: Ground truth of each sample.
        """
        num_masks = self._num_masks(targets)
        losses = self._layer_losses(layers[-1], targets, num_masks)
        for number, layer in enumerate(layers[:-1]):
            auxiliary = self._layer_losses(layer, targets, num_masks)
            losses.update({f'd{number}.{key}': loss for key, loss in auxiliary.items()})
        return losses

    @staticmethod
    def _num_masks(targets: Sequence[Target]) -> float:
        count = sum(target.masks.shape[0] * target.masks.shape[1] for target in targets)
        total = torch.tensor(float(count), device=targets[0].masks.device)
        all_reduce(total, op='mean')
        return max(total.item(), 1.0)

    def _layer_losses(
        self, layer: Predictions, targets: Sequence[Target], num_masks: float
    ) -> Dict[str, Tensor]:
        # In float32 under autocast: sums over pixels exceed half precision's range.
        scores = layer.scores.float()
        labels = torch.full(scores.shape[:3], NOT_REFERRED, device=scores.device)
        weights = torch.full_like(scores[..., 0], self.not_referred_weight)
        logits: List[Tensor] = []
        truth: List[Tensor] = []
        for sample, target in enumerate(targets):
            masks, size = layer.masks[sample].float(), target.masks.shape[-2:]
            frames, instances = target.masks.shape[:2]
            if not instances:
                continue
            gt_labels = target.labels()
            with torch.no_grad():
                resized = resize(masks, size)
            query, instance = self.assigner(
                scores[sample], resized, gt_labels, target.masks
            )
            labels[sample, :, query] = gt_labels[:, instance]
            # Where the referred instance is hidden its query is "not", at full weight.
            weights[sample, :, query[target.referred[instance]]] = 1.0
            logits.append(resize(masks[:, query], size).flatten(0, 1).flatten(1))
            truth.append(target.masks[:, instance].flatten(0, 1).flatten(1))
        frames = scores.shape[0] * scores.shape[1]
        entropy = F.cross_entropy(
            scores.flatten(0, 2), labels.flatten(), reduction='none'
        )
        referred = (entropy * weights.flatten()).sum() / frames
        losses = dict(loss_is_referred=self.referred_loss_weight * referred)
        if logits:
            pixels = logits[0].shape[1]
            matched, wanted = torch.cat(logits), torch.cat(truth).float()
            losses['loss_sigmoid_focal'] = self.focal_loss(
                matched, wanted, avg_factor=num_masks * pixels
            )
            losses['loss_dice'] = self.dice_loss(matched, wanted, avg_factor=num_masks)
        else:
            # Every parameter gets a gradient, for which other ranks wait.
            nothing = layer.masks.float().sum() * 0.0
            losses['loss_sigmoid_focal'] = losses['loss_dice'] = nothing
        return losses


def resize(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits [T, Q, h, w] to another height and width, bilinear."""
    return F.interpolate(masks, tuple(size), mode='bilinear', align_corners=False)
