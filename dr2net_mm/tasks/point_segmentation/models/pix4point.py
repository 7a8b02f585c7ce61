"""Segmentation of point clouds by a vision transformer."""

import math
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from .layers import at_least_single
from .preprocessor import IGNORED


@MODELS.register_module()
class Pix4Point(BaseModel):
    """Encoder, decoder and head for a class of every point.

    The geometry of a batch (farthest points, neighbors, interpolation weights) depends
    on positions alone: it is computed once, without gradients, for all three. The loss
    is cross entropy with label smoothing.

    Args:
        encoder: Config of :class:`PointViT` or ``Dr2PointViT``.
        decoder: Config of :class:`PointDecoder`; the channels that it gets are filled
            in.
        head: Config of :class:`PointSegmentationHead`, ``num_classes`` in it.
        label_smoothing: Share of the target that all classes have in common, [0, 1).
        padding_in_loss: Whether points that repeat others to fill a sample count in
            the loss, as they do upstream.
        test_cfg: ``dict(votes=n)`` averages the logits of n rotations about z.
        data_preprocessor: Config of :class:`PointDataPreprocessor`; by default one that
            compares labels with the classes.
        init_cfg: Config of the initialization.

    Raises:
        ValueError: If an option is out of range.

    Source: Pix4Point (3DV 2024).
    """

    def __init__(
        self,
        encoder: dict,
        decoder: dict,
        head: dict,
        label_smoothing: float = 0.2,
        padding_in_loss: bool = True,
        test_cfg: Optional[dict] = None,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f'label_smoothing is {label_smoothing}; it is a share, from 0 to less '
                'than 1.'
            )
        votes = dict(test_cfg or {}).get('votes', 1)
        if not isinstance(votes, int) or votes < 1:
            raise ValueError(
                f'test_cfg.votes is {votes!r}; give 1 (no voting) or more.'
            )
        num_classes = head['num_classes']
        default = dict(type='PointDataPreprocessor', num_classes=num_classes)
        super().__init__(data_preprocessor or default, init_cfg)
        self.encoder = MODELS.build(encoder)
        *skips, tokens = self.encoder.feature_widths
        channels = decoder.get('channels', tokens)
        self.decoder = MODELS.build(
            dict(decoder, skip_channels=skips, in_channels=tokens, channels=channels)
        )
        self.head = MODELS.build(dict(head, in_channels=channels, cls_channels=tokens))
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.padding_in_loss = padding_in_loss
        self.votes = votes

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[Sequence[Any]] = None,
        mode: str = 'tensor',
    ) -> Union[Tensor, Dict[str, Tensor], List[Any]]:
        """Logits, losses or predictions.

        Args:
            inputs: Points [B, N, C], the coordinates first.
            data_samples: A :class:`PointSample` for each cloud, for losses and
                predictions.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.
        """
        if mode == 'tensor':
            return self.logits(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        raise ValueError(f"mode is {mode!r}; it is 'tensor', 'loss' or 'predict'.")

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits [B, N, classes] of points [B, N, C]."""
        geometry = self.encoder.geometry(inputs)
        *features, tokens = self.encoder(inputs, geometry)
        cls, tokens = tokens[:, :1], tokens[:, 1:]
        recompute = self.encoder.recomputes
        points = self.decoder([*features, tokens], geometry, recompute)
        return self.head(points, cls, recompute)

    def loss(self, inputs: Tensor, data_samples: Sequence[Any]) -> Dict[str, Tensor]:
        """Cross entropy over all points, and the accuracy in percent."""
        logits = at_least_single(self.logits(inputs).flatten(0, 1))
        labels = torch.cat([sample.labels for sample in data_samples])
        if not self.padding_in_loss:
            valid = torch.cat([sample.valid for sample in data_samples])
            labels = labels.masked_fill(~valid, IGNORED)
        count = (labels != IGNORED).sum().clamp_(min=1)
        total = F.cross_entropy(
            logits,
            labels,
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
            reduction='sum',
        )
        right = (logits.detach().argmax(dim=1) == labels).sum()
        return dict(loss=total / count, accuracy=100 * right / count)

    def predict(self, inputs: Tensor, data_samples: Sequence[Any]) -> List[Any]:
        """Return the samples with ``logits`` [N, classes] of each."""
        angles = [2 * math.pi * vote / self.votes for vote in range(self.votes)]
        votes = [self.logits(rotated(inputs, angle)).float() for angle in angles]
        for sample, logits in zip(data_samples, torch.stack(votes).mean(dim=0)):
            sample.logits = logits
        return list(data_samples)


def rotated(points: Tensor, angle: float) -> Tensor:
    """Points [B, N, C] turned about z by an angle in radians, other channels kept."""
    if not angle:
        return points
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = points[..., 0], points[..., 1]
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    return torch.cat([turned, points[..., 2:]], dim=-1)
