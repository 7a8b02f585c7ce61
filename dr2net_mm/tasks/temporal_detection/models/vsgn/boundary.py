"""Second stage of VSGN: scores of boundaries, and proposals moved to them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BoundaryScores(nn.Module):
    """Likelihood of each cell of the time axis as start, end or inside of an action.

    Three branches, each a convolution of size 3, a ReLU and a convolution of size 1,
    on the finest level brought to the input's length by linear interpolation.

    Args:
        channels: Channels of the finest level.
        length: Cells T of the time axis.

    Source: VSGN (ICCV 2021), Sec. 3.4; OpenTAD's ``TemporalEvaluationHead``.
    """

    kinds = ('start', 'end', 'action')

    def __init__(self, channels: int = 256, length: int = 256) -> None:
        super().__init__()
        self.length = length
        self.branches = nn.ModuleDict(
            {
                kind: nn.Sequential(
                    nn.Conv1d(channels, channels, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv1d(channels, 1, 1),
                )
                for kind in self.kinds
            }
        )

    def forward(self, finest: Tensor) -> Tensor:
        """Map [B, C, T'] to logits [B, 3, T] of start, end and action."""
        x = F.interpolate(finest, size=self.length, mode='linear', align_corners=True)
        return torch.cat([self.branches[kind](x) for kind in self.kinds], dim=1)


class BoundaryAdjustment(nn.Module):
    """Offsets of the two ends of a proposal, from features around each end.

    At an end of a proposal the features at its left, its center and its right, an
    eighth of the proposal's length apart, go through a convolution of size 3 without
    padding, a ReLU and a convolution of size 1.

    Args:
        channels: Channels of the finest level.
        length: Cells T of the time axis.
        stride: Cells between positions of the finest level.
        reach: Share of the length between the samples is 1 / reach.

    Source: VSGN (ICCV 2021), Sec. 3.4; OpenTAD's ``VSGNRoIHead``, ``CornerExtractor``.
    """

    def __init__(
        self,
        channels: int = 256,
        length: int = 256,
        stride: int = 2,
        reach: float = 8.0,
    ) -> None:
        super().__init__()
        self.length = length
        self.stride = stride
        self.reach = reach
        self.start = self._branch(channels)
        self.end = self._branch(channels)

    @staticmethod
    def _branch(channels: int) -> nn.Sequential:
        # The input has three positions, so that the stride has no effect; it is 2 in
        # the released code.
        return nn.Sequential(
            nn.Conv1d(channels, channels, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv1d(channels, 1, 1),
        )

    def sampling_positions(self, proposals: Tensor) -> Tensor:
        """Choose the positions of the finest level to sample.

        Args:
            proposals: [B, N, 2] in cells; cut to [0, T - 1] first.

        Returns:
            Left, center and right of the start and of the end, long, [B, N, 2, 3].
        """
        ends = proposals.detach().clamp(0, self.length - 1)
        step = (ends[..., 1] - ends[..., 0] + 1) / self.reach
        offsets = step[..., None, None] * step.new_tensor([-1.0, 0.0, 1.0])
        positions = torch.floor((ends[..., None] + offsets) / self.stride).long()
        return positions.clamp(0, self.length // self.stride - 1)

    def forward(self, finest: Tensor, proposals: Tensor) -> Tensor:
        """Move the ends of the proposals, whose gradient flows on to the first stage.

        Args:
            finest: Finest level, [B, C, T / stride].
            proposals: [B, N, 2] in cells.

        Returns:
            [B, N, 2] in cells, float32.
        """
        positions = self.sampling_positions(proposals)
        batch = torch.arange(len(finest), device=finest.device).view(-1, 1, 1)
        tokens = finest.transpose(1, 2)
        offsets = []
        for side, branch in enumerate((self.start, self.end)):
            around = tokens[batch, positions[:, :, side]]  # [B, N, 3, C]
            around = around.flatten(0, 1).transpose(1, 2)  # [B · N, C, 3]
            offsets.append(branch(around).view(proposals.shape[:2]))
        return proposals + torch.stack(offsets, dim=-1).float()
