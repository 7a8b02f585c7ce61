"""Decoder of VSGN: the coarse levels brought back to the fine ones."""

from typing import List, Sequence

from torch import Tensor, nn


def _conv(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)
    )


class PyramidDecoder(nn.Module):
    r"""Feature pyramid from the coarsest level of the encoder to the finest.

    .. math::
        d_L = f_L(e_L), \qquad d_l = f_l(c_l(e_l) + u_l(d_{l+1}))

    with :math:`e_l` the levels of the encoder, :math:`f` and :math:`c` convolutions of
    size 3 with a ReLU, and :math:`u` a transposed convolution of size 3 and stride 2
    with a ReLU.

    Args:
        channels: Channels of every level.
        num_levels: Levels L.

    Source: VSGN (ICCV 2021), Sec. 3.3; settings of OpenTAD's ``VSGNFPN``.
    """

    def __init__(self, channels: int = 256, num_levels: int = 5) -> None:
        super().__init__()
        finer = range(num_levels - 1)
        self.laterals = nn.ModuleList(_conv(channels) for _ in finer)
        self.upsamples = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose1d(
                    channels, channels, 3, stride=2, padding=1, output_padding=1
                ),
                nn.ReLU(inplace=True),
            )
            for _ in finer
        )
        self.fusions = nn.ModuleList(_conv(channels) for _ in range(num_levels))

    def forward(self, levels: Sequence[Tensor]) -> List[Tensor]:
        """Turn the encoder's levels, finest first, into maps of the same shapes."""
        x = self.fusions[-1](levels[-1])
        decoded = [x]
        for level in reversed(range(len(levels) - 1)):
            x = self.laterals[level](levels[level]) + self.upsamples[level](x)
            x = self.fusions[level](x)
            decoded.append(x)
        return decoded[::-1]
