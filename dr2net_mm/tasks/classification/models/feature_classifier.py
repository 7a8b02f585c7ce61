"""A linear classifier on the mean of a backbone's last feature map."""

from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional


@MODELS.register_module()
class FeatureClassifier(BaseModel):
    """Classifies images by the spatial mean of the last feature map of a backbone.

    With the last feature map f [B, C, H, W],

        logits = W · mean_{H,W}(f) + b          [B, num_classes]

    and the loss is the cross entropy. Any backbone of the registries fits, also those
    whose outputs are reversible.

    Args:
        backbone: Config of a backbone that gives feature maps [B, C, H, W].
        num_classes: Number of classes, at least 2.
        in_channels: C of its last feature map; by default what the backbone says as
            ``out_channels``.
        dropout: Share of the mean's values that are dropped in training, in [0, 1).
        data_preprocessor: Config of MMEngine's, which normalizes images.
        init_cfg: MMEngine's.

    Raises:
        ValueError: If a number is out of range, or C is not known.
    """

    def __init__(
        self,
        backbone: Dict[str, Any],
        num_classes: int,
        in_channels: Optional[int] = None,
        dropout: float = 0.0,
        data_preprocessor: Optional[Dict[str, Any]] = None,
        init_cfg: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if isinstance(num_classes, bool) or num_classes < 2:
            raise ValueError(f'num_classes is {num_classes}; give at least 2')
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout is {dropout}; it must be in [0, 1)')
        self.backbone = MODELS.build(backbone)
        if in_channels is None:
            channels = getattr(self.backbone, 'out_channels', None)
            if channels is None:
                raise ValueError(
                    f'{type(self.backbone).__name__} does not say how many channels '
                    'its feature maps have; give in_channels'
                )
            in_channels = channels[-1]
        self.num_classes = num_classes
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(in_channels, num_classes)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Return the means [B, C] of the last feature map of images [B, 3, H, W]."""
        features = self.backbone(inputs)
        last = features[-1] if isinstance(features, (list, tuple)) else features
        return last.mean(dim=(2, 3))

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[Sequence[BaseDataElement]] = None,
        mode: str = 'tensor',
    ) -> Union[Tensor, Dict[str, Tensor], List[BaseDataElement]]:
        """Return logits, losses, or data samples with predictions.

        Args:
            inputs: Normalized images [B, 3, H, W].
            data_samples: One an image, with ``gt_label`` where the mode is 'loss'.
            mode: 'tensor' for logits [B, num_classes]; 'loss' for a dictionary;
                'predict' for data samples with ``pred_score`` [num_classes] and
                ``pred_label``.
        """
        logits = self.head(self.dropout(self.extract_feat(inputs)))
        if mode == 'tensor':
            return logits
        if mode == 'loss':
            return self._losses(logits, data_samples or [])
        if mode == 'predict':
            return self._predictions(logits, data_samples)
        raise ValueError(f'mode is {mode!r}; choose one of tensor, loss, predict')

    def _losses(
        self, logits: Tensor, data_samples: Sequence[BaseDataElement]
    ) -> Dict[str, Tensor]:
        labels = torch.tensor(
            [int(sample.gt_label) for sample in data_samples], device=logits.device
        )
        wrong = (labels < 0) | (labels >= self.num_classes)
        if wrong.any():
            raise ValueError(
                f'an image has the label {int(labels[wrong][0])}, but the model has '
                f'num_classes={self.num_classes}: labels are 0 to '
                f'{self.num_classes - 1}'
            )
        return dict(loss=functional.cross_entropy(logits, labels))

    def _predictions(
        self, logits: Tensor, data_samples: Optional[Sequence[BaseDataElement]]
    ) -> List[BaseDataElement]:
        scores = logits.softmax(dim=1)
        samples = data_samples or [BaseDataElement() for _ in scores]
        for sample, score in zip(samples, scores):
            sample.set_data(dict(pred_score=score, pred_label=score.argmax()))
        return list(samples)
