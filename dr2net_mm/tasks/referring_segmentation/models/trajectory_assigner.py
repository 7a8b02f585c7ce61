"""Bipartite matching of object queries with instances over all annotated frames."""

from typing import Sequence, Tuple

import torch
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Costs = Sequence[dict]
MTTR_COSTS: Costs = (
    dict(type='mmdet.ClassificationCost', weight=2.0),
    dict(type='mmdet.DiceCost', weight=5.0, pred_act=True, eps=1.0),
)


class TrajectoryAssigner:
    """One query for each instance, the same in all frames.

        assignment = argmin Σ_g mean_t Σ_c cost_c(q(g), g, t)

    With one frame it is mmdet's ``HungarianAssigner``, which knows no time.

    Args:
        costs: mmdet's match costs, with their weights. The labels that they see are 0
            for the referred instance and 1 for others.

    Source: MTTR (CVPR 2022), Sec. 3.4; ``models/matcher.py``.
    """

    def __init__(self, costs: Costs = MTTR_COSTS) -> None:
        self.costs = [TASK_UTILS.build(dict(cost)) for cost in costs]

    @torch.no_grad()
    def __call__(
        self, scores: Tensor, masks: Tensor, gt_labels: Tensor, gt_masks: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Match the queries of a sample.

        Args:
            scores: Logits of "referred" and "not", [T, Q, 2].
            masks: Logits of the pixels, [T, Q, H, W].
            gt_labels: 0 where an instance is referred to in a frame, else 1; [T, G].
            gt_masks: Instances [T, G, H, W].

        Returns:
            Numbers of the matched queries and of their instances, both [min(Q, G)], in
            the order of the queries.

        Raises:
            ValueError: If a cost is not finite.
        """
        total = scores.new_zeros(scores.shape[1], gt_masks.shape[1])
        for frame in range(len(scores)):
            predicted = InstanceData(scores=scores[frame], masks=masks[frame])
            truth = InstanceData(labels=gt_labels[frame], masks=gt_masks[frame])
            for cost in self.costs:
                total = total + cost(predicted, truth)
        total = (total / len(scores)).cpu()
        if not torch.isfinite(total).all():
            raise ValueError(
                'costs of matching are not finite: a prediction is NaN or infinite. '
                'Lower the learning rate.'
            )
        query, instance = linear_sum_assignment(total.numpy())
        device = gt_labels.device
        return (
            torch.as_tensor(query, dtype=torch.long, device=device),
            torch.as_tensor(instance, dtype=torch.long, device=device),
        )
