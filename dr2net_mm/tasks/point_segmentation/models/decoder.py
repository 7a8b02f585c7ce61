"""The decoder of Pix4Point: features of every point from those of tokens."""

from typing import Sequence

import torch
import torch.utils.checkpoint as cp
from mmengine.registry import MODELS
from torch import Tensor, nn

from .geometry import PointGeometry
from .layers import PointBatchNorm, PointConv
from .operators import interpolate


class FeaturePropagation(nn.Module):
    """Features of a finer cloud from those of a coarser one.

        f'_i = ReLU(BN(W_2 · ReLU(BN(W_1 [f_i, Σ_k w_k g_k]))))

    Args:
        skip_channels: Channels of f, the finer cloud's own features.
        in_channels: Channels of g, the coarser cloud's features.
        channels: Channels of the result.

    Source: PointNet++ (NeurIPS 2017).
    """

    def __init__(self, skip_channels: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            _layer(skip_channels + in_channels, channels), _layer(channels, channels)
        )

    def forward(
        self,
        skip: Tensor,
        coarse: Tensor,
        back: Tensor,
        weights: Tensor,
        recompute: bool = False,
    ) -> Tensor:
        """Features [B, N, channels].

        Args:
            skip: f [B, N, skip_channels].
            coarse: g [B, M, in_channels].
            back: Neighbors in the coarser cloud, [B, N, K].
            weights: Their weights, [B, N, K].
            recompute: Whether all in front of the first norm is evaluated again in the
                backward pass. The norms are not: they would count the batch twice.
        """
        if recompute:
            joined = cp.checkpoint(
                self._spread,
                skip,
                coarse,
                back,
                weights,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        else:
            joined = self._spread(skip, coarse, back, weights)
        (_, norm, activation), second = self.convs
        return second(activation(norm(joined)))

    def _spread(
        self, skip: Tensor, coarse: Tensor, back: Tensor, weights: Tensor
    ) -> Tensor:
        """Apply the first convolution to both clouds' features, [B, N, channels]."""
        spread = interpolate(coarse, back, weights)
        return self.convs[0][0](torch.cat([skip.to(spread.dtype), spread], dim=2))


def _layer(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        PointConv(in_channels, channels, bias=False),
        PointBatchNorm(channels),
        # In place: the norm keeps its input and not its output.
        nn.ReLU(inplace=True),
    )


@MODELS.register_module()
class PointDecoder(nn.Module):
    """Feature propagation from the coarsest level to the points.

    Args:
        skip_channels: Channels of the points and of each level but the last.
        in_channels: Channels of the tokens.
        channels: Channels of every level of the decoder.

    Source: Pix4Point (3DV 2024), ``PointNextDecoder`` of openpoints.
    """

    def __init__(
        self, skip_channels: Sequence[int], in_channels: int, channels: int = 384
    ) -> None:
        super().__init__()
        stages = []
        for i, skip in enumerate(skip_channels):
            last = i == len(skip_channels) - 1
            below = in_channels if last else channels
            stages.append(nn.Sequential(FeaturePropagation(skip, below, channels)))
        # The fine one first, as in the published weights.
        self.decoder = nn.ModuleList(stages)

    def forward(
        self,
        features: Sequence[Tensor],
        geometry: PointGeometry,
        recompute: bool = False,
    ) -> Tensor:
        """Features of the points, [B, N, channels].

        Args:
            features: Of the points and each level, the finest first; the tokens of the
                last one without CLS.
            geometry: The nested clouds.
            recompute: Whether what stands in front of the norms is evaluated again in
                the backward pass.
        """
        *skips, coarse = features
        for i in reversed(range(len(skips))):
            level = geometry.levels[i]
            coarse = self.decoder[i][0](
                skips[i], coarse, level.back, level.weights, recompute
            )
        return coarse
