"""A frozen backbone under something that trains."""

from typing import Any, List

import torch
from torch import Tensor, nn

from dr2net_mm.backbones.base.outputs import output_list


class FrozenBackbone(nn.Module):
    """A backbone without gradients; a trained scalar on its outputs stands for a head.

    The scalar is added, so that it keeps no output for the backward pass: whatever a
    real head keeps comes on top, for this row as for all others.

    Args:
        backbone: The network, whose parameters are frozen.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.head = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> List[Any]:
        """Compute the outputs, with a graph that begins above them."""
        return [output + self.head for output in output_list(self.backbone(images))]
