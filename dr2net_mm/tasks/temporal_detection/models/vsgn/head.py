"""Head of VSGN's first stage: classes and widths of the anchors of every level."""

from typing import List, Sequence, Tuple

import torch
from torch import Tensor, nn


def _tower(channels: int, depth: int, norm_groups: int) -> nn.Sequential:
    layers: List[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv1d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(norm_groups, channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class ProposalHead(nn.Module):
    """Separate class and segment towers, the same weights at every level.

    Args:
        channels: Channels of the pyramid.
        num_anchors: Anchors A of each location.
        num_classes: Classes K, each an independent sigmoid.
        depth: Convolutions of a tower.
        norm_groups: Groups of the group norm; they must divide ``channels``.

    Source: VSGN (ICCV 2021), Sec. 3.4; settings of OpenTAD's ``VSGNRPNHead``.
    """

    def __init__(
        self,
        channels: int = 256,
        num_anchors: int = 2,
        num_classes: int = 1,
        depth: int = 4,
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cls_tower = _tower(channels, depth, norm_groups)
        self.reg_tower = _tower(channels, depth, norm_groups)
        self.cls = nn.Conv1d(channels, num_anchors * num_classes, 3, padding=1)
        self.reg = nn.Conv1d(channels, num_anchors * 2, 3, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Predict for all anchors, in the order of ``pyramid_anchors``.

        Args:
            levels: [B, C, T_l] of each level.

        Returns:
            Class logits [B, N, K] and ``(d_x, d_w)`` [B, N, 2], N = A · sum(T_l).
        """
        logits = [self.cls(self.cls_tower(level)) for level in levels]
        deltas = [self.reg(self.reg_tower(level)) for level in levels]
        return _by_anchor(logits, self.num_classes), _by_anchor(deltas, 2)


def _by_anchor(levels: Sequence[Tensor], width: int) -> Tensor:
    """Rearrange [B, A · width, T_l] of each level to [B, N, width]."""
    joined = torch.cat(list(levels), dim=2).transpose(1, 2)
    return joined.reshape(len(joined), -1, width)
