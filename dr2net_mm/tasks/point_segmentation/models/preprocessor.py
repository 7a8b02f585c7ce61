"""Clouds of a batch as one tensor."""

from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor

#: Label of points that no class is known of.
IGNORED = 255


@MODELS.register_module()
class PointDataPreprocessor(BaseDataPreprocessor):
    """Stack the clouds of a batch, check them on the host and move them to the device.

    Args:
        num_classes: Classes that labels are compared with; None compares nothing.
        non_blocking: Whether copies to a device may overlap with work.
    """

    def __init__(
        self, num_classes: Optional[int] = None, non_blocking: bool = False
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        self.num_classes = num_classes

    def forward(self, data: Dict[str, Any], training: bool = False) -> Dict[str, Any]:
        """Batch with ``inputs`` [B, N, C] on the device.

        Raises:
            ValueError: If clouds differ in size, hold a number that is not finite, or
                have a label outside the classes.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        if not isinstance(inputs, Tensor):
            inputs = _stacked(inputs)
        if inputs.device.type == 'cpu':
            _check_finite(inputs)
            self._check_labels(samples or [])
        return dict(
            inputs=self.cast_data(inputs).float(),
            data_samples=None if samples is None else self.cast_data(list(samples)),
        )

    def _check_labels(self, samples: Sequence[Any]) -> None:
        if self.num_classes is None:
            return
        for number, sample in enumerate(samples):
            labels = sample.get('labels')
            if labels is None:
                continue
            known = (labels >= 0) & (labels < self.num_classes) | (labels == IGNORED)
            if not bool(known.all()):
                wrong = int(labels[~known][0])
                raise ValueError(
                    f'cloud {number} of the batch has the label {wrong}; the model has '
                    f'the classes 0 to {self.num_classes - 1} (and {IGNORED} for '
                    'points without one). Set num_classes of the head to that of the '
                    'data set.'
                )


def _stacked(inputs: Sequence[Tensor]) -> Tensor:
    shapes: List[Any] = [tuple(cloud.shape) for cloud in inputs]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            f'the clouds of a batch must have one shape [N, C], got {shapes}; the data '
            'set pads or cuts every sample to num_points.'
        )
    return torch.stack(list(inputs))


def _check_finite(inputs: Tensor) -> None:
    finite = inputs.isfinite()
    if bool(finite.all()):
        return
    cloud, point, channel = (~finite).nonzero()[0].tolist()
    raise ValueError(
        f'channel {channel} of point {point} of cloud {cloud} of the batch is '
        f'{float(inputs[cloud, point, channel])}; every coordinate and color must be '
        'finite. Remove such points from the files.'
    )
