"""Classification and regression at every point of the pyramid."""

import math
from typing import Sequence, Tuple

import torch
from torch import Tensor, nn

from .pyramid import convolution_tower


class PointHead(nn.Module):
    r"""Class scores and distances to the two ends, shared by the levels.

    .. math::
        (d_s, d_e) = \mathrm{ReLU}(g_l \cdot \mathrm{conv}(x))

    in strides of level l, with a learned gain :math:`g_l` of each level.

    Args:
        channels: Channels of the pyramid.
        num_classes: K.
        levels: L, the number of levels.
        convolutions: Layers of each tower before its last convolution.
        prior: Score that every class begins with.

    Raises:
        ValueError: If an argument is outside its range.

    Source: ActionFormer (ECCV 2022).
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        levels: int,
        convolutions: int = 2,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        if not 0 < prior < 1:
            raise ValueError(f'prior is {prior}; it must be in (0, 1), such as 0.01.')
        if convolutions < 0:
            raise ValueError(
                f'head_convolutions is {convolutions}; it must be at least 0.'
            )
        self.classification = nn.Sequential(
            convolution_tower(channels, channels, convolutions),
            nn.Conv1d(channels, num_classes, 3, padding=1),
        )
        self.regression = nn.Sequential(
            convolution_tower(channels, channels, convolutions),
            nn.Conv1d(channels, 2, 3, padding=1),
        )
        self.gains = nn.Parameter(torch.ones(levels))
        nn.init.constant_(self.classification[-1].bias, -math.log(1 / prior - 1))
        nn.init.zeros_(self.regression[-1].bias)

    def forward(self, levels: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Compute the outputs at all points, those of the first level first.

        Args:
            levels: Features [B, C, T_l] of each level.

        Returns:
            Logits [B, N, K] and distances [B, N, 2] in strides, both float32.
        """
        logits = [self.classification(x) for x in levels]
        distances = [
            (gain * self.regression(x).float()).relu()
            for gain, x in zip(self.gains, levels)
        ]
        return (
            torch.cat(logits, dim=2).transpose(1, 2).float(),
            torch.cat(distances, dim=2).transpose(1, 2),
        )
