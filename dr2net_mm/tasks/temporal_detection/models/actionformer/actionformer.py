"""ActionFormer: a transformer pyramid with a segment at every point."""

from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from ..common import (
    LossNormalizer,
    checked_samples,
    describe_proposals,
    ground_truth,
    sigmoid_focal_loss,
    stack_features,
)
from .decoding import SegmentDecoder
from .head import PointHead
from .losses import distance_iou_loss
from .points import Points, assign_points, level_ranges, make_points
from .pyramid import TransformerPyramid, Windows

REGRESSION_LOSSES = ('diou', 'giou')


@MODELS.register_module()
class ActionFormer(BaseModel):
    r"""Temporal action detection at every point of a pyramid of features.

    The features of a video become a pyramid of L levels by transformer blocks with
    local windows. Point i of level l predicts scores of the classes and the distances
    to the start and the end of the action that it lies in. With n the
    :class:`~..common.LossNormalizer` of the positive points,

    .. math::
        L = \frac{1}{n} \sum_{points} \mathrm{focal} +
        \frac{\lambda}{n} \sum_{positive} \mathrm{DIoU}

    Every video is rescaled to the same number of positions, so that there are no
    padded ones and T is fixed.

    Args:
        in_channels: Channels of the features.
        temporal_length: T, the number of positions of every video.
        channels: Width of the pyramid and the head.
        num_classes: K. By default the number of ``classes``, or 1: class-agnostic.
        classes: Names of the classes, in the order of their labels. Predictions carry
            them as ``label``; without them there is one class and no label.
        num_heads: Attention heads.
        windows: Odd window of the attention, None for all positions; or one for each
            level.
        layers: Convolutions, blocks at full length, and levels below the first.
        position_encoding: Whether to add sinusoids of the position.
        dropout: Probability of dropout in the blocks.
        drop_path: Probability that a video skips a branch of a block.
        layer_scale: First value of the gains of the branches.
        head_convolutions: Layers of each tower of the head before its last.
        prior: Score that every class begins with.
        regression_ranges: Distances in cells that each level is responsible for, see
            :func:`~dr2net_mm.tasks.temporal_detection.models.actionformer.points.level_ranges`.
        center_radius: Points farther than this from the center of an action, in
            strides, are negative.
        label_smoothing: s; targets become (1 - s) · target + s / (K + 1).
        regression_loss: ``'diou'`` or ``'giou'``.
        regression_weight: λ.
        normalizer: Arguments of ``LossNormalizer``.
        test_cfg: Arguments of
            :class:`~dr2net_mm.tasks.temporal_detection.models.actionformer.SegmentDecoder`.
        data_preprocessor: Config of the data preprocessor of features.
        init_cfg: Config of the initialization.

    Raises:
        ValueError: If an argument is outside its range or does not fit another.

    Source: ActionFormer (ECCV 2022); settings of OpenTAD.
    """

    def __init__(
        self,
        in_channels: int,
        temporal_length: int = 2304,
        channels: int = 512,
        num_classes: Optional[int] = None,
        classes: Optional[Sequence[str]] = None,
        num_heads: int = 4,
        windows: Windows = 19,
        layers: Tuple[int, int, int] = (2, 2, 5),
        position_encoding: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
        head_convolutions: int = 2,
        prior: float = 0.01,
        regression_ranges: Optional[Sequence[Tuple[float, float]]] = None,
        center_radius: float = 1.5,
        label_smoothing: float = 0.0,
        regression_loss: str = 'diou',
        regression_weight: float = 1.0,
        normalizer: Optional[dict] = None,
        test_cfg: Optional[dict] = None,
        data_preprocessor: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.in_channels = in_channels
        self.temporal_length = temporal_length
        self.classes = None if classes is None else tuple(classes)
        self.num_classes = count_classes(num_classes, self.classes)
        if regression_loss not in REGRESSION_LOSSES:
            raise ValueError(
                f'regression_loss is {regression_loss!r}; it must be one of '
                f'{REGRESSION_LOSSES}.'
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f'label_smoothing is {label_smoothing}; it must be in [0, 1).'
            )
        if not center_radius > 0:
            raise ValueError(
                f'center_radius is {center_radius}; it must be above 0, such as 1.5.'
            )
        self.center_radius = center_radius
        self.label_smoothing = label_smoothing
        self.regression_loss = regression_loss
        self.regression_weight = regression_weight
        self.pyramid = TransformerPyramid(
            in_channels,
            channels,
            temporal_length,
            num_heads,
            windows,
            layers,
            position_encoding,
            dropout,
            drop_path,
            layer_scale,
        )
        ranges = level_ranges(layers[2] + 1, regression_ranges)
        self.head = PointHead(
            channels, self.num_classes, len(ranges), head_convolutions, prior
        )
        self.normalizer = LossNormalizer(**(normalizer or {}))
        self.decoder = SegmentDecoder(**(test_cfg or {}))
        for name, values in make_points(temporal_length, ranges)._asdict().items():
            self.register_buffer(f'point_{name}', values, persistent=False)

    @property
    def points(self) -> Points:
        """The N points of the pyramid, on the device of the model."""
        return Points(*(getattr(self, f'point_{name}') for name in Points._fields))

    def forward(
        self,
        inputs: Union[Tensor, Sequence[Tensor]],
        data_samples: Optional[Sequence] = None,
        mode: str = 'tensor',
    ) -> Union[Dict[str, Tensor], List[dict], Tuple[Tensor, Tensor]]:
        """Compute losses, proposals or raw outputs.

        Args:
            inputs: Features [B, C, T], or a [C, T] for each video.
            data_samples: A sample for each video, see :meth:`loss` and
                :meth:`predict`.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Raises:
            ValueError: If a shape or the ground truth is wrong, or there is not one
                data sample for each video.
            RuntimeError: If there is no such mode.
        """
        if mode not in ('loss', 'predict', 'tensor'):
            raise RuntimeError(
                f"mode is {mode!r}; it must be 'loss', 'predict' or 'tensor'."
            )
        features = stack_features(inputs, self.in_channels, self.temporal_length)
        if mode == 'tensor':
            return self.head(self.pyramid(features))
        samples = checked_samples(features, data_samples, mode)
        return getattr(self, mode)(features, samples)

    def loss(self, features: Tensor, data_samples: Sequence) -> Dict[str, Tensor]:
        """Compute the losses of a batch, finite also where no video has an action.

        Args:
            features: [B, C, T].
            data_samples: Samples with ``gt_instances['gt_bbox']`` [n, 2] in [0, 1] and
                ``gt_instances['gt_label']`` [n].

        Returns:
            ``loss_cls`` and ``loss_reg``.
        """
        logits, distances = self.head(self.pyramid(features))
        classes, targets = self._targets(data_samples, features.device)
        positive = classes.any(dim=-1)
        divisor = self.normalizer(positive.sum())
        smoothed = (1 - self.label_smoothing) * classes
        smoothed = smoothed + self.label_smoothing / (self.num_classes + 1)
        regression = distance_iou_loss(
            distances, targets, center_distance=self.regression_loss == 'diou'
        )
        # A sum over all points keeps every parameter in the graph without positives.
        return dict(
            loss_cls=sigmoid_focal_loss(logits, smoothed).sum() / divisor,
            loss_reg=self.regression_weight * (regression * positive).sum() / divisor,
        )

    @torch.no_grad()
    def predict(self, features: Tensor, data_samples: Sequence) -> List[dict]:
        """Predict the proposals of every video.

        Args:
            features: [B, C, T].
            data_samples: Samples with the meta information ``video_name`` and
                ``duration_second``, see
                :func:`~dr2net_mm.tasks.temporal_detection.models.common.covered_seconds`.

        Returns:
            A dictionary for each video, see
            :func:`~dr2net_mm.tasks.temporal_detection.models.common.describe_proposals`.
        """
        logits, distances = self.head(self.pyramid(features))
        segments, scores = self.points.decode(distances), logits.sigmoid()
        results = []
        for video, sample in enumerate(data_samples):
            found = self.decoder(segments[video], scores[video], self.temporal_length)
            names = None
            if self.classes is not None:
                names = [self.classes[label] for label in found.labels.tolist()]
            results.append(
                describe_proposals(
                    sample.metainfo,
                    found.segments / self.temporal_length,
                    found.scores,
                    names,
                )
            )
        return results

    @torch.no_grad()
    def _targets(
        self, data_samples: Sequence, device: torch.device
    ) -> Tuple[Tensor, Tensor]:
        """Assign classes [B, N, K] and distances [B, N, 2] to the points."""
        assigned = [
            assign_points(
                self.points,
                truth.segments * self.temporal_length,
                truth.labels,
                self.num_classes,
                self.center_radius,
            )
            for truth in ground_truth(data_samples, self.num_classes, device)
        ]
        classes, distances = zip(*assigned)
        return torch.stack(classes), torch.stack(distances)


def count_classes(num_classes: Optional[int], classes: Optional[Sequence[str]]) -> int:
    """Return the number of classes; several of them need their names.

    Raises:
        ValueError: If there is no class, or numbers and names differ.
    """
    if classes is None:
        if num_classes not in (None, 1):
            raise ValueError(
                f'num_classes is {num_classes}, but classes has no names; give the '
                'names, which predictions carry as labels, or num_classes=1 for '
                'class-agnostic proposals.'
            )
        return 1
    if not classes or len(classes) != (num_classes or len(classes)):
        raise ValueError(
            f'num_classes is {num_classes} and classes has {len(classes)} names; give '
            'at least one name, and leave num_classes out.'
        )
    return len(classes)
