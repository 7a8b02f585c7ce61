"""The VSGN localizer."""

from typing import Dict, List, Optional, Sequence, Union

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..common import (
    GroundTruth,
    checked_samples,
    describe_proposals,
    ground_truth,
    stack_features,
)
from .anchors import decode, pyramid_anchors
from .boundary import BoundaryAdjustment, BoundaryScores
from .criterion import VSGNCriterion, VSGNOutputs
from .decoder import PyramidDecoder
from .encoder import PyramidEncoder
from .head import ProposalHead
from .losses import ordered
from .proposals import best_proposals, boundary_confidence


@MODELS.register_module()
class VSGN(BaseModel):
    r"""Temporal action detector with a graph pyramid and adjusted boundaries.

    The features of a video go through an encoder and a decoder to a pyramid of L levels
    (strides 2 … 2^L). The first stage classifies the anchors of every location and
    decodes their segments; the second scores every cell as a start or an end, and moves
    the ends of each segment. The score of a proposal [s, e] is

    .. math::
        p_{class} \cdot p_{start}(s) \cdot p_{end}(e)

    Proposals are class-agnostic by default; video-level class scores are fused in the
    metric.

    Args:
        in_channels: Channels of the video features.
        temporal_length: Cells T of the time axis, divisible by 2^num_levels.
        channels: Channels of the pyramid.
        num_levels: Levels L.
        use_graph: Whether the encoder has the graph (xGN), or convolutions only.
        num_neighbors: Neighbors of each position in the graph.
        num_classes: Classes K. With 1 the detector is class-agnostic; with more each
            is an independent sigmoid and ``gt_label`` is needed.
        classes: Names of the classes, given as ``label`` of the proposals. Needed
            with more than one class.
        anchor_scales: Widths of the anchors, in strides.
        tower_depth: Convolutions of each tower of the head.
        norm_groups: Groups of the group norm; they must divide ``channels``.
        min_gt_length: Ground truth not longer than this share of its video is not
            trained on.
        loss: Arguments of :class:`.criterion.VSGNCriterion`.
        nms_sigma: Width of the Gaussian of soft-NMS.
        min_score: Proposals whose score after soft-NMS is not above it are left out.
        max_proposals: Most proposals of a video.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of the initialization. Default: Xavier's uniform one with zero
            bias for convolutions and linear layers, as in OpenTAD.

    Raises:
        ValueError: A size, threshold or weight is out of range, or names of classes are
            missing.

    Source: Video Self-Stitching Graph Network for Temporal Action Localization (ICCV
    2021), without self-stitching; settings of OpenTAD ``configs/vsgn/anet_tsp_gcn.py``.

    Examples:
        >>> model = dict(type='VSGN', in_channels=512, temporal_length=256)
    """

    def __init__(
        self,
        in_channels: int,
        temporal_length: int = 256,
        channels: int = 256,
        num_levels: int = 5,
        use_graph: bool = True,
        num_neighbors: int = 10,
        num_classes: int = 1,
        classes: Optional[Sequence[str]] = None,
        anchor_scales: Sequence[float] = (3, 7.5),
        tower_depth: int = 4,
        norm_groups: int = 32,
        min_gt_length: float = 0.01,
        loss: Optional[dict] = None,
        nms_sigma: float = 0.5,
        min_score: float = 0.0,
        max_proposals: int = 100,
        data_preprocessor: Optional[Union[dict, nn.Module]] = None,
        init_cfg: Union[dict, List[dict], None] = dict(
            type='Xavier', layer=['Conv1d', 'Linear'], distribution='uniform'
        ),
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        _check_sizes(temporal_length, num_levels, channels, norm_groups, num_neighbors)
        _check_classes(num_classes, classes)
        if not 0 <= min_gt_length < 1:
            raise ValueError(
                f'min_gt_length is {min_gt_length}; it is a share of the video in '
                '[0, 1).'
            )
        self.in_channels = in_channels
        self.temporal_length = temporal_length
        self.num_classes = num_classes
        self.classes = classes
        self.min_gt_length = min_gt_length
        self.nms_sigma = nms_sigma
        self.min_score = min_score
        self.max_proposals = max_proposals

        strides = [2**level for level in range(1, num_levels + 1)]
        anchors = pyramid_anchors(temporal_length, strides, anchor_scales)
        self.register_buffer('anchors', anchors, persistent=False)
        self.encoder = PyramidEncoder(
            in_channels, channels, num_levels, use_graph, num_neighbors
        )
        self.decoder = PyramidDecoder(channels, num_levels)
        self.head = ProposalHead(
            channels, len(anchor_scales), num_classes, tower_depth, norm_groups
        )
        self.boundary_scores = BoundaryScores(channels, temporal_length)
        self.boundary_adjustment = BoundaryAdjustment(
            channels, temporal_length, strides[0]
        )
        self.criterion = VSGNCriterion(**(loss or {}))

    def forward(
        self,
        inputs: Union[Tensor, Sequence[Tensor]],
        data_samples: Optional[Sequence] = None,
        mode: str = 'tensor',
    ) -> Union[Dict[str, Tensor], List[dict], VSGNOutputs]:
        """Compute losses, predictions or raw outputs.

        Args:
            inputs: Features [B, C, T], or a [C, T] for each video.
            data_samples: Samples of the videos; see :meth:`loss` and :meth:`predict`.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Raises:
            ValueError: If the features have another shape, or there is not one data
                sample for each video.
            RuntimeError: If there is no such mode.
        """
        if mode not in ('loss', 'predict', 'tensor'):
            raise RuntimeError(
                f"mode is {mode!r}; it must be 'loss', 'predict' or 'tensor'."
            )
        features = stack_features(inputs, self.in_channels, self.temporal_length)
        if mode == 'tensor':
            return self._forward(features)
        samples = checked_samples(features, data_samples, mode)
        return getattr(self, mode)(features, samples)

    def loss(self, features: Tensor, data_samples: Sequence) -> Dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            features: [B, C, T].
            data_samples: Samples with ``gt_instances['gt_bbox']`` [n, 2], start and end
                as fractions of the video, n possibly zero; with several classes
                ``gt_instances['gt_label']`` [n] too.

        Raises:
            KeyError: Ground truth is missing.
            ValueError: A segment is outside [0, 1] or ends before it starts.
        """
        truths = [
            self._in_cells(truth)
            for truth in ground_truth(data_samples, self.num_classes, features.device)
        ]
        return self.criterion(self._forward(features), self.anchors, truths)

    @torch.no_grad()
    def predict(self, features: Tensor, data_samples: Sequence) -> List[dict]:
        """Predict proposals of each video, best first, in seconds.

        Args:
            features: [B, C, T].
            data_samples: Samples whose meta information has ``video_name`` and
                ``duration_second``, and ``feature_frame`` and ``duration_frame`` where
                the features leave out the end of the video.

        Returns:
            For each video ``dict(video_name=str, proposal_list=[dict(score=float,
            segment=[start, end])])``, and ``label`` where there are class names.

        Raises:
            KeyError: Meta information is missing.
        """
        outputs = self._forward(features)
        scores = outputs.logits.float().sigmoid().cpu()
        boundaries = outputs.boundaries.float().sigmoid().cpu()
        segments = ordered(outputs.adjusted).clamp(0, self.temporal_length).cpu()
        results = []
        for i, sample in enumerate(data_samples):
            start, end, _ = boundaries[i]
            confidence = boundary_confidence(start, segments[i, :, 0])
            confidence *= boundary_confidence(end, segments[i, :, 1])
            kept, kept_scores, labels = best_proposals(
                segments[i],
                scores[i] * confidence[:, None],
                sigma=self.nms_sigma,
                min_score=self.min_score,
                max_num=self.max_proposals,
            )
            names = self.classes and [self.classes[label] for label in labels]
            fractions = kept / self.temporal_length
            results.append(
                describe_proposals(sample.metainfo, fractions, kept_scores, names)
            )
        return results

    def _forward(self, features: Tensor) -> VSGNOutputs:
        levels = self.decoder(self.encoder(features))
        logits, deltas = self.head(levels)
        proposals = decode(deltas, self.anchors)
        return VSGNOutputs(
            logits=logits,
            proposals=proposals,
            boundaries=self.boundary_scores(levels[0]),
            adjusted=self.boundary_adjustment(levels[0], proposals),
        )

    def _in_cells(self, truth: GroundTruth) -> GroundTruth:
        width = truth.segments[:, 1] - truth.segments[:, 0]
        long = width > self.min_gt_length
        return GroundTruth(
            truth.segments[long] * self.temporal_length, truth.labels[long]
        )


def _check_sizes(
    length: int, num_levels: int, channels: int, norm_groups: int, num_neighbors: int
) -> None:
    if num_levels < 1:
        raise ValueError(f'num_levels is {num_levels}; it must be at least 1.')
    coarsest = 2**num_levels
    if length < coarsest or length % coarsest:
        raise ValueError(
            f'temporal_length is {length}; with num_levels={num_levels} it must be a '
            f'multiple of {coarsest}, such as '
            f'{max(1, round(length / coarsest)) * coarsest}.'
        )
    if channels % norm_groups:
        raise ValueError(
            f'channels is {channels}; it must be a multiple of norm_groups='
            f'{norm_groups}.'
        )
    if num_neighbors < 1:
        raise ValueError(
            f'num_neighbors is {num_neighbors}; it must be at least 1. '
            'use_graph=False builds the encoder without the graph.'
        )


def _check_classes(num_classes: int, classes: Optional[Sequence[str]]) -> None:
    if num_classes < 1:
        raise ValueError(f'num_classes is {num_classes}; it must be at least 1.')
    if classes is None and num_classes > 1:
        raise ValueError(
            f'num_classes is {num_classes}; name them in classes, so that '
            'proposals have a label.'
        )
    if classes is not None and len(classes) != num_classes:
        raise ValueError(
            f'there are {len(classes)} classes and num_classes={num_classes}; '
            'give one name for each class.'
        )
