"""Any localizer on features, trained from raw frames."""

from contextlib import nullcontext
from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm, _InstanceNorm
from torch import Tensor, nn

from .common import checked_samples

#: What localizers call the channels and the length of the features that they take:
#: those of dr2net_mm, and those of mmaction.
CHANNEL_NAMES = ('in_channels', 'feat_dim')
LENGTH_NAMES = ('temporal_length', 'tscale')

NORM_LAYERS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm)


@MODELS.register_module()
class EndToEndLocalizer(BaseModel):
    """A video backbone and a localizer that is written for features, as one model.

    With the frames x of a whole video, the localizer receives

        features = interpolate(mean over height and width of backbone(x), T)

    where T is ``temporal_length`` and the interpolation is linear, the first and last
    position being centers of cells (``align_corners=False``). Losses and predictions
    are the localizer's own. Checkpoints of mmaction's recognizers fit by name: their
    ``backbone.*`` is this model's.

    Args:
        backbone: Config of a backbone that takes [B, 3, T, H, W] and returns one
            feature map [B, C, T', H', W'], as a tensor or a sequence of one.
        localizer: Config of a localizer, e.g. mmaction's ``BMN`` or this package's
            ``VSGN`` and ``ActionFormer``.
        temporal_length: T, the length of the features that the localizer takes.
        frozen_backbone: Whether the backbone is a fixed feature extractor: in eval
            mode, without gradients.
        norm_eval: Whether the normalization layers of the backbone stay in eval mode
            while it trains. Only layers with running statistics notice.
        freeze_norm: Whether weights and biases of those layers keep their pretrained
            values. OpenTAD's ``norm_eval`` is both this and ``norm_eval`` here.
        data_preprocessor: Config of mmaction's ``ActionDataPreprocessor``, with
            ``format_shape='NCTHW'`` and the mean and std of the backbone.
        init_cfg: Config of the initialization.

    Raises:
        ValueError: If an option is out of range, does not fit the localizer, or gives
            it a data preprocessor, which would never run.

    Source: Re²TAL (CVPR 2023); OpenTAD ``BackboneWrapper``.

    Examples:
        >>> model = dict(
        >>>     type='EndToEndLocalizer',
        >>>     backbone=dict(type='Dr2SwinTransformer3D', arch='tiny'),
        >>>     localizer=dict(
        >>>         type='ActionFormer', in_channels=768, temporal_length=192),
        >>>     temporal_length=192)
    """

    def __init__(
        self,
        backbone: dict,
        localizer: dict,
        temporal_length: int = 256,
        frozen_backbone: bool = False,
        norm_eval: bool = True,
        freeze_norm: bool = False,
        data_preprocessor: Optional[Union[dict, nn.Module]] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if temporal_length < 1:
            raise ValueError(
                f'temporal_length is {temporal_length}; it must be at least 1 and the '
                "localizer's own temporal length."
            )
        if localizer.get('data_preprocessor') is not None:
            raise ValueError(
                f'localizer has data_preprocessor={localizer["data_preprocessor"]}, '
                'which would never run: inputs are frames, and data_preprocessor of '
                'EndToEndLocalizer prepares them. Leave it out of the localizer.'
            )
        self.backbone = MODELS.build(backbone)
        self.localizer = MODELS.build(localizer)
        self.temporal_length = temporal_length
        self.frozen_backbone = frozen_backbone
        self.norm_eval = norm_eval
        self._check_localizer()
        if frozen_backbone:
            self.backbone.requires_grad_(False)
        elif freeze_norm:
            for layer in self._norm_layers():
                layer.requires_grad_(False)
        # VisionTransformer keeps the norm behind its pooling, which a feature map does
        # not pass; DDP waits for a gradient of everything that wants one.
        behind_pooling = getattr(self.backbone, 'fc_norm', None)
        if behind_pooling is not None and self.backbone.return_feat_map:
            behind_pooling.requires_grad_(False)
        self.data_preprocessor.register_forward_pre_hook(check_equal_frames)
        self.train()

    def train(self, mode: bool = True) -> 'EndToEndLocalizer':
        """Set the mode, except of what is to stay in eval mode."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        elif self.norm_eval:
            for layer in self._norm_layers():
                layer.eval()
        return self

    def extract_feat(self, inputs: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Compute the features of whole videos, as the localizer takes them.

        Args:
            inputs: Normalized frames [B, 1, 3, T, H, W] or [B, 3, T, H, W].

        Returns:
            float32 [B, C, temporal_length].

        Raises:
            ValueError: If the frames or the feature map of the backbone have another
                shape.
        """
        frames = self._frames(inputs)
        with torch.no_grad() if self.frozen_backbone else nullcontext():
            feature_map = self._feature_map(self.backbone(frames))
            features = feature_map.mean(dim=(3, 4), dtype=torch.float32)
        self._check_channels(features.shape[1])
        if features.shape[2] == self.temporal_length:
            return features
        return F.interpolate(
            features, self.temporal_length, mode='linear', align_corners=False
        )

    def forward(
        self,
        inputs: Union[Tensor, Sequence[Tensor]],
        data_samples: Optional[Sequence] = None,
        mode: str = 'tensor',
    ) -> Union[Dict[str, Tensor], List[dict], Tensor, Tuple]:
        """Compute losses, predictions or raw outputs of the localizer.

        Args:
            inputs: Normalized frames [B, 1, 3, T, H, W] or [B, 3, T, H, W].
            data_samples: Samples of the videos, as the localizer wants them.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Raises:
            ValueError: If a shape is wrong, or the samples are not one a video.
            RuntimeError: If there is no such mode.
        """
        if mode not in ('loss', 'predict', 'tensor'):
            raise RuntimeError(
                f"mode is {mode!r}; it must be 'loss', 'predict' or 'tensor'."
            )
        if mode == 'predict':
            return self._predict(inputs, data_samples)
        features = self.extract_feat(inputs)
        if mode == 'loss':
            data_samples = checked_samples(features, data_samples, mode)
        return self.localizer(list(features), data_samples, mode=mode)

    @torch.no_grad()
    def _predict(
        self,
        inputs: Union[Tensor, Sequence[Tensor]],
        data_samples: Optional[Sequence],
    ) -> List[dict]:
        features = self.extract_feat(inputs)
        samples = checked_samples(features, data_samples, 'predict')
        # One by one: mmaction's BMN answers for the first video of a batch only.
        return [
            result
            for video, sample in zip(features, samples)
            for result in self.localizer([video], [sample], mode='predict')
        ]

    def _frames(self, inputs: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Bring frames into the shape that backbones take, [B, 3, T, H, W]."""
        if not isinstance(inputs, Tensor):
            inputs = torch.stack(list(inputs))
        if not inputs.is_floating_point():
            raise ValueError(
                f'the frames are {inputs.dtype} and have not been normalized; give '
                "EndToEndLocalizer data_preprocessor=dict(type='mmaction."
                "ActionDataPreprocessor', mean=[…], std=[…], format_shape='NCTHW')."
            )
        if inputs.dim() == 6 and inputs.shape[1] == 1:
            inputs = inputs.flatten(0, 1)
        if inputs.dim() != 5:
            raise ValueError(
                f'the frames have the shape {list(inputs.shape)}; a localizer takes '
                'one clip of one crop for each video, [B, 1, 3, T, H, W] '
                "(num_clips=1, one crop, FormatShape with input_format='NCTHW')."
            )
        return inputs

    def _feature_map(self, outputs: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Return the one feature map of the backbone, [B, C, T', H', W']."""
        name = type(self.backbone).__name__
        if not isinstance(outputs, Tensor):
            if len(outputs) != 1:
                raise ValueError(
                    f'{name} returns {len(outputs)} feature maps; a localizer takes '
                    'one. Give the backbone one of its stages as out_indices, such '
                    'as out_indices=(3,).'
                )
            feature_map = outputs[0]
        else:
            feature_map = outputs
        if feature_map.dim() != 5:
            raise ValueError(
                f'{name} returns features of the shape {list(feature_map.shape)}; '
                "a feature map [B, C, T', H', W'] is needed. A VisionTransformer "
                'gives one with return_feat_map=True.'
            )
        return feature_map

    def _check_localizer(self) -> None:
        """Refuse a localizer that wants another length or another time axis."""
        name = type(self.localizer).__name__
        length = first_number(self.localizer, LENGTH_NAMES)
        if length is not None and length != self.temporal_length:
            raise ValueError(
                f'temporal_length is {self.temporal_length}, but {name} takes '
                f'features of length {length}; the two must be equal.'
            )
        interval = getattr(self.localizer, 'feature_extraction_interval', 1)
        if interval != 1:
            raise ValueError(
                f'{name} has feature_extraction_interval={interval} and would shorten '
                'videos to a multiple of it. Features of whole videos are not '
                'extracted at an interval: set feature_extraction_interval=1.'
            )

    def _check_channels(self, channels: int) -> None:
        wanted = first_number(self.localizer, CHANNEL_NAMES)
        if wanted is not None and wanted != channels:
            raise ValueError(
                f'{type(self.backbone).__name__} returns {channels} channels, but '
                f'{type(self.localizer).__name__} takes {wanted}; change in_channels '
                '(feat_dim of BMN) of the localizer.'
            )

    def _norm_layers(self) -> List[nn.Module]:
        return [m for m in self.backbone.modules() if isinstance(m, NORM_LAYERS)]


def first_number(module: nn.Module, names: Sequence[str]) -> Optional[int]:
    """Return the first of the attributes that is a whole number."""
    for name in names:
        if isinstance(getattr(module, name, None), int):
            return getattr(module, name)
    return None


def check_equal_frames(_: nn.Module, arguments: Tuple) -> None:
    """Refuse videos that the data preprocessor would pad to a common length.

    Ground truth is in fractions of the video: padding in time, which mmengine's
    ``stack_batch`` does silently, would move it.

    Raises:
        ValueError: If the videos of a batch differ in shape.
    """
    data = arguments[0] if arguments else {}
    inputs = data.get('inputs', ()) if isinstance(data, dict) else ()
    shapes = {tuple(video.shape) for video in inputs}
    if len(shapes) > 1:
        raise ValueError(
            f'the videos of a batch have the shapes {sorted(shapes)}; rescale all to '
            'the same number of frames and the same size in the data pipeline.'
        )
