"""Features of every pixel, with which dynamic kernels make masks."""

from typing import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn


class MaskFeatures(BaseModule):
    """From encoded visual tokens up to the resolution of the first stage.

    Four times a 3×3 convolution, GroupNorm and ReLU; after the second and the third
    the map is up-sampled (nearest) and a 1×1 convolution of a finer stage is added. A
    last 3×3 convolution gives the mask features.

    Args:
        embed_dims: Channels C of the encoded tokens; a multiple of 64, since the
            narrowest layer has C / 8 channels in 8 groups.
        fine_channels: Channels of the finer maps, in the order in which they are added.
        out_channels: Number of mask features.

    Source: MTTR (CVPR 2022), Sec. 3.3; ``FPNSpatialDecoder`` in
    ``models/segmentation.py``.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        fine_channels: Sequence[int] = (192, 96),
        out_channels: int = 8,
    ) -> None:
        super().__init__()
        if embed_dims % 64:
            raise ValueError(
                f'embed_dims is {embed_dims}; it must be a multiple of 64.'
            )
        widths = [embed_dims // divisor for divisor in (1, 1, 2, 4, 8)]
        self.layers = nn.ModuleList(
            ConvModule(
                width,
                after,
                3,
                padding=1,
                bias=True,
                norm_cfg=dict(type='GN', num_groups=8),
            )
            for width, after in zip(widths, widths[1:])
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, width, 1)
            for channels, width in zip(fine_channels, widths[2:4])
        )
        self.output = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def init_weights(self) -> None:
        """Set the convolutions to Kaiming-uniform weights (a = 1) and bias 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    def forward(self, memory: Tensor, fine: Sequence[Tensor]) -> Tensor:
        """Compute mask features.

        Args:
            memory: Encoded visual tokens [N, C, h, w].
            fine: Maps of finer stages [N, C_i, h_i, w_i], the finest one last.

        Returns:
            [N, out_channels, h_last, w_last].
        """
        x = self.layers[1](self.layers[0](memory))
        for layer, lateral, finer in zip(self.layers[2:], self.laterals, fine):
            added = lateral(finer)
            x = layer(added + F.interpolate(x, added.shape[-2:], mode='nearest'))
        return self.output(x)
