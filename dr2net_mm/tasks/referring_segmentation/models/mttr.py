"""MTTR: referring video object segmentation with a multimodal transformer."""

import inspect
from contextlib import nullcontext
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from .criterion import MTTRCriterion, Predictions, Target
from .mask_features import MaskFeatures
from .multimodal_transformer import MultimodalTransformer
from .post_processing import best_trajectory, binary_masks


class Outputs(NamedTuple):
    """Raw outputs for B windows with T annotated frames.

    Attributes:
        scores: Logits of "referred" and "not" of every decoder layer,
            [L, B, T, Q, 2].
        kernels: Dynamic kernels, [L, B, T, Q, K].
        features: Mask features, [B, T, K, h, w].
    """

    scores: Tensor
    kernels: Tensor
    features: Tensor

    def predictions(self, layer: int) -> Predictions:
        """Return scores and mask logits, kernel times features, of a decoder layer."""
        masks = torch.einsum('btqk,btkhw->btqhw', self.kernels[layer], self.features)
        return Predictions(self.scores[layer], masks)


@MODELS.register_module(force=True)
class MTTR(BaseModel):
    """A sentence and a window of frames to masks of Q candidates and their scores.

    The backbone sees the whole window. What follows sees only the annotated frames:
    a transformer on visual and text tokens of each frame, Q object queries which are
    the same in all frames, and for each query a score "referred" and a kernel that
    makes its mask out of mask features.

    Args:
        backbone: Config of a video backbone that takes [B, 3, T, H, W], keeps the
            frames and returns maps [B, C_i, T, H_i, W_i] of three scales, the finest
            first. Where its ``forward`` has an argument ``frames``, maps of other
            frames are never made.
        text_encoder: Config of :class:`.RobertaTextEncoder`.
        backbone_channels: C_i.
        embed_dims: Channels of the transformer.
        num_queries: Q.
        num_kernel_channels: K, channels of kernels and mask features.
        transformer: Further arguments of :class:`.MultimodalTransformer`.
        criterion: Arguments of :class:`.MTTRCriterion`.
        frozen_backbone: Whether the backbone is a fixed feature extractor: in eval
            mode, without gradients.
        whole_video: Whether one query is chosen for all frames of a video, as on
            Ref-YouTube-VOS, or each annotated frame keeps all Q masks, as on
            A2D-Sentences and JHMDB-Sentences.
        data_preprocessor: Config of :class:`.ReferringVideoPreprocessor`.
        init_cfg: Config of the initialization.

    Raises:
        ValueError: If an option is out of range.

    Source: MTTR (CVPR 2022), https://arxiv.org/abs/2111.14821.
    """

    def __init__(
        self,
        backbone: dict,
        text_encoder: dict,
        backbone_channels: Sequence[int] = (96, 192, 384),
        embed_dims: int = 256,
        num_queries: int = 50,
        num_kernel_channels: int = 8,
        transformer: Optional[dict] = None,
        criterion: Optional[dict] = None,
        frozen_backbone: bool = False,
        whole_video: bool = False,
        data_preprocessor: Optional[Union[dict, nn.Module]] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        preprocessor = data_preprocessor or dict(type='ReferringVideoPreprocessor')
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        if len(backbone_channels) != 3 or num_queries < 1:
            raise ValueError(
                f'backbone_channels is {backbone_channels} and num_queries '
                f'{num_queries}; three scales and at least one query are needed.'
            )
        self.backbone = MODELS.build(backbone)
        self.text_encoder = MODELS.build(text_encoder)
        self.backbone_channels = tuple(backbone_channels)
        self.frozen_backbone, self.whole_video = frozen_backbone, whole_video
        self._takes_frames = (
            'frames' in inspect.signature(self.backbone.forward).parameters
        )
        self.transformer = MultimodalTransformer(embed_dims, **(transformer or {}))
        dropout = (transformer or {}).get('dropout', 0.1)
        self.visual_projection = nn.Conv2d(backbone_channels[-1], embed_dims, 1)
        self.text_projection = nn.Sequential(
            nn.Linear(self.text_encoder.embed_dims, embed_dims),
            nn.LayerNorm(embed_dims, eps=1e-12),
            nn.Dropout(dropout),
        )
        self.queries = nn.Embedding(num_queries, embed_dims)
        self.mask_features = MaskFeatures(
            embed_dims, backbone_channels[-2::-1], num_kernel_channels
        )
        self.referred_head = nn.Linear(embed_dims, 2)
        self.kernel_head = nn.Sequential(
            nn.Linear(embed_dims, embed_dims),
            nn.ReLU(inplace=True),
            nn.Linear(embed_dims, num_kernel_channels),
        )
        self.criterion = MTTRCriterion(**(criterion or {}))
        if frozen_backbone:
            self.backbone.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> 'MTTR':
        """Set the mode, except of a frozen backbone, which stays in eval mode."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[Sequence[BaseDataElement]] = None,
        mode: str = 'tensor',
    ) -> Union[Dict[str, Tensor], List[BaseDataElement], Outputs]:
        """Return losses, predictions or raw outputs.

        Args:
            inputs: Normalized frames [B, T, 3, H, W].
            data_samples: One a window, as ``PackReferringInputs`` makes them: metainfo
                ``text``, ``frames`` (numbers of the annotated frames in the window,
                the same in the batch), ``img_shape`` and ``ori_shape``; for losses
                ``gt_instances`` with ``masks`` [G, T', H_i, W_i], ``referred`` [G] and,
                optionally, ``visible`` [G, T'].
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Raises:
            ValueError: If inputs and samples do not fit.
            RuntimeError: If there is no such mode.
        """
        if mode not in ('loss', 'predict', 'tensor'):
            raise RuntimeError(
                f"mode is {mode!r}; it must be 'loss', 'predict' or 'tensor'."
            )
        samples = list(data_samples or ())
        frames = check_samples(inputs, samples)
        outputs = self._outputs(inputs, samples, frames)
        if mode == 'tensor':
            return outputs
        if mode == 'predict':
            return self._predict(inputs, outputs, samples)
        targets = [target_of(sample, inputs.shape[-2:]) for sample in samples]
        layers = [outputs.predictions(i) for i in range(len(outputs.scores))]
        return self.criterion(layers, targets)

    def _outputs(
        self,
        inputs: Tensor,
        samples: Sequence[BaseDataElement],
        frames: Sequence[int],
    ) -> Outputs:
        maps = [frames_first(x) for x in self._feature_maps(inputs, frames)]
        padding = padding_masks(inputs, samples, maps[-1].shape[-2:], len(frames))
        encoded = self.text_encoder([sample.text for sample in samples])
        text = self.text_projection(encoded.features)
        states, memory = self.transformer(
            self.visual_projection(maps[-1]),
            padding,
            text.repeat_interleave(len(frames), dim=0),
            encoded.padding.repeat_interleave(len(frames), dim=0),
            self.queries.weight,
        )
        features = self.mask_features(memory, maps[-2::-1])
        states = states.unflatten(1, (len(samples), len(frames)))
        return Outputs(
            self.referred_head(states),
            self.kernel_head(states),
            features.unflatten(0, (len(samples), len(frames))),
        )

    def _feature_maps(
        self, inputs: Tensor, frames: Sequence[int]
    ) -> Tuple[Tensor, ...]:
        """Return maps [B, C_i, T', H_i, W_i] of the annotated frames."""
        video = inputs.transpose(1, 2)
        whole = list(frames) == list(range(inputs.shape[1]))
        with torch.no_grad() if self.frozen_backbone else nullcontext():
            if self._takes_frames and not whole:
                maps = self.backbone(video, frames=frames)
            else:
                maps = self.backbone(video)
                if not whole:
                    maps = [x[:, :, list(frames)] for x in maps]
        channels = tuple(x.shape[1] for x in maps)
        lengths = {x.shape[2] for x in maps}
        if channels != self.backbone_channels or lengths != {len(frames)}:
            raise ValueError(
                f'{type(self.backbone).__name__} returns maps of the shapes '
                f'{[list(x.shape) for x in maps]}; MTTR needs {len(frames)} frames and '
                f'backbone_channels={self.backbone_channels}. A Video Swin keeps the '
                'frames with patch_size=(1, 4, 4).'
            )
        return tuple(maps)

    @torch.no_grad()
    def _predict(
        self,
        inputs: Tensor,
        outputs: Outputs,
        samples: Sequence[BaseDataElement],
    ) -> List[BaseDataElement]:
        scores, logits = outputs.predictions(-1)
        probabilities = scores.float().softmax(-1)[..., 0]
        for sample, score, masks in zip(samples, probabilities, logits):
            sizes = (inputs.shape[-2:], sample.img_shape, sample.ori_shape)
            if self.whole_video:
                best, mean = best_trajectory(score)
                chosen = binary_masks(masks[:, best : best + 1], *sizes)
                sample.pred_instances = InstanceData(
                    scores=mean[None], masks=chosen.transpose(0, 1)
                )
            else:
                sample.pred_instances = InstanceData(
                    scores=score.T, masks=binary_masks(masks, *sizes).transpose(0, 1)
                )
        return list(samples)


def check_samples(inputs: Tensor, samples: Sequence[BaseDataElement]) -> List[int]:
    """Return the numbers of the annotated frames within the windows.

    Raises:
        ValueError: If there is not one sample a window, or the numbers differ within
            the batch or are none of the window's.
    """
    if inputs.dim() != 5 or inputs.shape[2] != 3 or not inputs.is_floating_point():
        raise ValueError(
            f'the inputs are {inputs.dtype} {list(inputs.shape)}; MTTR takes '
            'normalized frames [B, T, 3, H, W], which ReferringVideoPreprocessor makes.'
        )
    if not samples or len(samples) != len(inputs):
        raise ValueError(
            f'there are {len(inputs)} windows and {len(samples)} data samples; MTTR '
            'needs the sentence of each window.'
        )
    kinds = {tuple(int(number) for number in sample.frames) for sample in samples}
    frames = sorted(kinds)[0]
    if (
        len(kinds) > 1
        or not frames
        or not 0 <= min(frames) <= max(frames) < (inputs.shape[1])
    ):
        raise ValueError(
            f'the annotated frames are {sorted(kinds)} in windows of {inputs.shape[1]} '
            'frames; they must be the same, and within the window, in a batch.'
        )
    return list(frames)


def frames_first(maps: Tensor) -> Tensor:
    """Return maps [B, C, T, h, w] as [B·T, C, h, w]."""
    return maps.transpose(1, 2).flatten(0, 1)


def padding_masks(
    inputs: Tensor, samples: Sequence[BaseDataElement], size: Sequence[int], frames: int
) -> Tensor:
    """Tell where maps of a size show padding, bool [B·T, h, w]; nearest resizing."""
    padding = inputs.new_ones(len(samples), 1, *inputs.shape[-2:])
    for mask, sample in zip(padding, samples):
        height, width = sample.img_shape[:2]
        mask[:, :height, :width] = 0
    small = F.interpolate(padding, tuple(size), mode='nearest')[:, 0] > 0.5
    return small.repeat_interleave(frames, dim=0)


def target_of(sample: BaseDataElement, size: Sequence[int]) -> Target:
    """Return ground truth of a sample, padded to the size of the batch."""
    truth = sample.gt_instances
    height, width = truth.masks.shape[-2:]
    masks = F.pad(truth.masks, (0, size[1] - width, 0, size[0] - height))
    visible = truth.visible.transpose(0, 1) if 'visible' in truth else None
    return Target(masks.transpose(0, 1), truth.referred, visible)
