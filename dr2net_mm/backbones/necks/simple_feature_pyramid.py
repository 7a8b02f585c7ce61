"""ViTDet's feature pyramid of a single feature map."""

from typing import Any, List, Optional, Sequence, Tuple, Union

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

#: Scales for which there are layers: x4, x2, x1 and x1/2.
SCALES = (4.0, 2.0, 1.0, 0.5)


@MODELS.register_module()
class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of feature maps [B, C, H, W].

    Registered, so that heads can be given ``norm_cfg=dict(type='LayerNorm2d')``.

    Args:
        num_channels: Channels C.
        eps: Added to the variance.
    """

    _abbr_ = 'ln'

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize maps of the shape [B, C, H, W]."""
        x = super().forward(x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2).contiguous()


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Feature maps of several strides from the last map of a plain backbone.

    The map, of stride s, is brought to the strides s/4, s/2, s and 2s by transposed
    convolutions and by max-pooling, each followed by a 1x1 and a 3x3 convolution with
    norms. Further levels take every second pixel of the last one. With patches of
    16 pixels the strides are 4, 8, 16, 32 and, with ``num_outs=5``, 64.

    Args:
        in_channels: Channels of the map, ``out_channels[-1]`` of the backbone; also as
            a list of one number.
        out_channels: Channels of every level.
        num_outs: Number of levels: those of ``scales``, and more by max-pooling.
        scales: Factors of the map's height and width, from large to small, out of 4,
            2, 1 and 0.5.
        norm_cfg: Norm behind each convolution of a level and between the transposed
            ones, a registered type with an argument ``num_channels`` such as
            ``LayerNorm2d``, the default, or ``dict(type='GN', num_groups=32)``.
        init_cfg: MMEngine's.

    Raises:
        ValueError: If an argument is out of range.

    Source: Exploring Plain Vision Transformer Backbones for Object Detection (ECCV
    2022), section 3; ``SimpleFeaturePyramid`` of detectron2.
    """

    def __init__(
        self,
        in_channels: Union[int, Sequence[int]],
        out_channels: int = 256,
        num_outs: int = 5,
        scales: Sequence[float] = SCALES,
        norm_cfg: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = _one_width(in_channels)
        scales = tuple(float(scale) for scale in scales)
        if not scales or any(scale not in SCALES for scale in scales):
            raise ValueError(
                f'scales is {scales}; factors out of {SCALES} are accepted.'
            )
        if list(scales) != sorted(set(scales), reverse=True):
            raise ValueError(
                f'scales is {scales}; give each factor once, from large to small, such '
                f'as {SCALES}.'
            )
        if not isinstance(num_outs, int) or num_outs < len(scales):
            raise ValueError(
                f'num_outs is {num_outs!r}; with {len(scales)} scales it must be an '
                f'integer of at least {len(scales)}.'
            )
        if not isinstance(out_channels, int) or out_channels < 1:
            raise ValueError(f'out_channels is {out_channels!r}; it must be positive.')
        self.out_channels = out_channels
        self.num_outs = num_outs
        self.scales = scales
        norm_cfg = dict(type='LayerNorm2d') if norm_cfg is None else norm_cfg
        self.levels = nn.ModuleList(
            _level(scale, self.in_channels, out_channels, norm_cfg) for scale in scales
        )

    def forward(self, inputs: Union[Tensor, Sequence[Tensor]]) -> Tuple[Tensor, ...]:
        """Compute the feature maps, the largest first.

        Args:
            inputs: The backbone's map [B, in_channels, H, W], also as a list of one.

        Returns:
            ``num_outs`` tensors [B, out_channels, H·scale, W·scale].

        Raises:
            ValueError: If there are several maps, or one of another width, or one too
                small to be halved.
        """
        x = self._single(inputs)
        outs: List[Tensor] = [level(x) for level in self.levels]
        while len(outs) < self.num_outs:
            # Every second pixel, as FPN makes its last level.
            outs.append(F.max_pool2d(outs[-1], kernel_size=1, stride=2))
        return tuple(outs)

    def _single(self, inputs: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        maps = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        if len(maps) != 1:
            raise ValueError(
                f'SimpleFeaturePyramid takes one feature map, got {len(maps)}; set '
                'out_indices=[-1] in the backbone.'
            )
        (x,) = maps
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'SimpleFeaturePyramid takes a map [B, {self.in_channels}, H, W], got '
                f"shape {tuple(x.shape)}; set in_channels to the backbone's "
                'out_channels[-1].'
            )
        if min(self.scales) < 1 and min(x.shape[-2:]) < 2:
            raise ValueError(
                f'a map of {x.shape[2]}x{x.shape[3]} cannot be halved; '
                'SimpleFeaturePyramid needs images of at least two patches in height '
                'and width.'
            )
        return x


def _one_width(in_channels: Any) -> int:
    widths = in_channels if isinstance(in_channels, (list, tuple)) else [in_channels]
    if len(widths) != 1:
        raise ValueError(
            f'in_channels is {in_channels}; SimpleFeaturePyramid takes one feature '
            'map, so give one number and set out_indices=[-1] in the backbone.'
        )
    (width,) = widths
    if not isinstance(width, int) or width < 4 or width % 4:
        raise ValueError(
            f'in_channels is {width!r}; it must be a positive multiple of 4, for the '
            'largest level has a quarter of them.'
        )
    return width


def _level(scale: float, width: int, out: int, norm_cfg: dict) -> nn.Sequential:
    """Build the layers from the backbone's map to one level."""
    layers: List[nn.Module] = []
    if scale == 0.5:
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    if scale >= 2:
        layers.append(nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2))
        width //= 2
    if scale == 4:
        layers += [
            MODELS.build(dict(norm_cfg, num_channels=width)),
            nn.GELU(),
            nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2),
        ]
        width //= 2
    layers += [
        nn.Conv2d(width, out, kernel_size=1, bias=False),
        MODELS.build(dict(norm_cfg, num_channels=out)),
        nn.Conv2d(out, out, kernel_size=3, padding=1, bias=False),
        MODELS.build(dict(norm_cfg, num_channels=out)),
    ]
    return nn.Sequential(*layers)
