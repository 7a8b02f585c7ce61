"""Shared parts of localizers: inputs, ground truth, losses and time axis."""

from typing import List, NamedTuple, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor, nn


class GroundTruth(NamedTuple):
    """Ground truth of one video: segments [n, 2] in [0, 1] and classes [n]."""

    segments: Tensor
    labels: Tensor


def stack_features(
    inputs: Union[Tensor, Sequence[Tensor]], channels: int, length: int
) -> Tensor:
    """Stack the features of a batch, of the shape the localizer takes.

    Args:
        inputs: [B, C, T], or a [C, T] for each video as mmaction's data pipeline
            collates them.
        channels: C of the localizer.
        length: T of the localizer.

    Returns:
        [B, C, T].

    Raises:
        ValueError: If a video has other dimensions.
    """
    for index, features in enumerate(inputs):
        if tuple(features.shape) != (channels, length):
            raise ValueError(
                f'features of video {index} have the shape {list(features.shape)}, '
                f'but this localizer takes {channels} channels at {length} temporal '
                'positions. Rescale every video to that length, or change '
                'in_channels or temporal_length of the localizer.'
            )
    return inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs))


def checked_samples(
    features: Tensor, data_samples: Optional[Sequence], mode: str
) -> Sequence:
    """Return the data samples, one for each video.

    Raises:
        ValueError: If there is not one data sample for each video.
    """
    samples = () if data_samples is None else data_samples
    if len(samples) != len(features):
        raise ValueError(
            f'mode={mode!r} needs a data sample for each video, but there are '
            f'{len(features)} videos and {len(samples)} data samples.'
        )
    return samples


def ground_truth(
    data_samples: Sequence, num_classes: int, device: torch.device
) -> List[GroundTruth]:
    """Extract and check the ground truth of a batch.

    Args:
        data_samples: Samples with ``gt_instances['gt_bbox']`` [n, 2], start and end as
            fractions of the video, and ``gt_instances['gt_label']`` [n].
        num_classes: Classes of the localizer. With one class the labels may be left
            out, and those that are there are taken as that class.
        device: Where the tensors are wanted.

    Returns:
        float32 segments and long labels of each video.

    Raises:
        KeyError: If a sample has no ground truth, or no labels where they are needed.
        ValueError: If a segment is outside [0, 1] or ends before it starts, or a label
            is outside [0, num_classes).
    """
    truths = []
    for sample in data_samples:
        instances, name = sample.gt_instances, sample.get('video_name', '')
        segments = torch.as_tensor(instances['gt_bbox'], device=device).float()
        segments = segments.reshape(-1, 2)
        if 'gt_label' in instances and num_classes > 1:
            labels = torch.as_tensor(instances['gt_label'], device=device).long()
        elif num_classes == 1:
            labels = segments.new_zeros(len(segments), dtype=torch.long)
        else:
            raise KeyError(
                f'video {name!r} has no gt_label in gt_instances, but the localizer '
                f'has {num_classes} classes. Add gt_label to the keys of the pack '
                'transform, or use a class-agnostic localizer (num_classes=1).'
            )
        if len(labels) != len(segments):
            raise ValueError(
                f'video {name!r} has {len(segments)} segments and {len(labels)} '
                'labels; give one label for each segment.'
            )
        ordered = (segments[:, 0] <= segments[:, 1]) & (segments[:, 0] >= 0)
        wrong = ~(ordered & (segments[:, 1] <= 1))
        if bool(wrong.any()):
            raise ValueError(
                f'video {name!r} has the segment {segments[wrong][0].tolist()}; start '
                'and end are fractions of the video, 0 <= start <= end <= 1.'
            )
        wrong = (labels < 0) | (labels >= num_classes)
        if bool(wrong.any()):
            raise ValueError(
                f'video {name!r} has the label {int(labels[wrong][0])}; the localizer '
                f'has {num_classes} classes, 0 to {num_classes - 1}.'
            )
        truths.append(GroundTruth(segments, labels))
    return truths


def covered_seconds(metainfo: dict) -> float:
    """Return the seconds of a video that the time axis [0, 1] of its features covers.

    mmaction's ``GenerateLocalizationLabels`` divides times by

        feature_frame / duration_frame · duration_second

    because features may leave out the last frames. Without those two numbers the axis
    is the whole video.

    Raises:
        KeyError: If the sample does not say how long the video is.
    """
    if 'duration_second' not in metainfo:
        raise KeyError(
            f'video {metainfo.get("video_name", "")!r} has no duration_second in its '
            'meta information. Add it to the meta_keys of the pack transform.'
        )
    seconds = float(metainfo['duration_second'])
    if 'feature_frame' in metainfo and 'duration_frame' in metainfo:
        seconds *= float(metainfo['feature_frame']) / metainfo['duration_frame']
    return seconds


def sigmoid_focal_loss(
    logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    r"""Compute the focal loss of independent classes by element, in float32.

    .. math::
        L = \alpha_t (1 - p_t)^\gamma \cdot \mathrm{BCE}(p, t), \qquad
        p_t = t p + (1 - t)(1 - p), \quad
        \alpha_t = t \alpha + (1 - t)(1 - \alpha)

    Plain torch, because the compiled operator of mmcv takes no soft targets.

    Args:
        logits: Any shape.
        targets: Numbers in [0, 1], of the same shape.
        alpha: Weight of the positive class.
        gamma: Exponent of the modulating factor.

    Returns:
        Losses of the same shape.

    Source: Focal Loss for Dense Object Detection (ICCV 2017), Eq. 5.
    """
    logits, targets = logits.float(), targets.float()
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    p_t = targets * p + (1 - targets) * (1 - p)
    alpha_t = targets * alpha + (1 - targets) * (1 - alpha)
    return alpha_t * (1 - p_t) ** gamma * entropy


class LossNormalizer(nn.Module):
    r"""Moving average of the number of positives, by which losses are divided.

    .. math::
        n \leftarrow m n + (1 - m) \max(1, k)

    with :math:`k` the number of positives of a batch, its mean over the processes of
    distributed training. It moves in training mode only, and its value is part of the
    state dict.

    Args:
        initial: Value before the first batch.
        momentum: :math:`m` in [0, 1).

    Raises:
        ValueError: If an argument is outside its range.

    Source: ActionFormer (ECCV 2022); OpenTAD's ``VSGN`` uses the same.
    """

    value: Tensor

    def __init__(self, initial: float = 100.0, momentum: float = 0.9) -> None:
        super().__init__()
        if not initial > 0:
            raise ValueError(f'initial is {initial}; it must be above 0, such as 100.')
        if not 0 <= momentum < 1:
            raise ValueError(
                f'momentum is {momentum}; it must be at least 0 and below 1, such as '
                '0.9.'
            )
        self.momentum = momentum
        self.register_buffer('value', torch.tensor(float(initial)))

    def forward(self, positives: Union[int, Tensor]) -> Tensor:
        """Return the divisor of this batch, a positive scalar.

        Args:
            positives: Number of positives of the batch in this process.
        """
        if self.training:
            count = torch.as_tensor(positives, dtype=torch.float32).to(self.value)
            count = count.clone()
            dist.all_reduce(count, op='mean')
            self.value.lerp_(count.clamp(min=1), 1 - self.momentum)
        return self.value.clone()

    def extra_repr(self) -> str:
        """Show the values in the text of the module."""
        return f'momentum={self.momentum}'


def describe_proposals(
    metainfo: dict,
    segments: Tensor,
    scores: Tensor,
    labels: Optional[Sequence[str]] = None,
) -> dict:
    """Format a video's result as mmaction's localizers do, best first.

    Args:
        metainfo: Meta information of the video.
        segments: [N, 2] as fractions of the video; cut to [0, 1].
        scores: [N].
        labels: Class names of the proposals; None for class-agnostic ones.

    Returns:
        ``dict(video_name=str, proposal_list=[dict(score=float, segment=[start, end] in
        seconds, label=str)])``, the label only where there are names.

    Raises:
        KeyError: If the sample does not say what the video is or how long it is.
    """
    seconds = (segments.clamp(0, 1).double() * covered_seconds(metainfo)).tolist()
    order = scores.argsort(descending=True, stable=True).tolist()
    values = scores.tolist()
    proposals = [{'score': values[i], 'segment': seconds[i]} for i in order]
    if labels is not None:
        for proposal, i in zip(proposals, order):
            proposal['label'] = labels[i]
    return dict(video_name=metainfo['video_name'], proposal_list=proposals)
