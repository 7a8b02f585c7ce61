"""Detectors of a config in the variants that are compared, and random data for them."""

import contextlib
import copy
import re
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from dr2net_mm.cli.run_tool import describe
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.memory.activation_checkpoint import checkpoint_modules
from dr2net_mm.memory.in_pieces import run_in_pieces
from dr2net_mm.memory.parts import known_parts

from . import videos
from .backbones import (
    config_backbone,
    conventional_backbone,
    packaged_config,
    reversible_backbone,
)

#: What is done about the memory of what is not the backbone: nothing, its encoder
#: layers checkpointed, or every part that is known in pieces.
AS_IT_IS, ENCODER, PIECES = '', 'encoder', 'pieces'

#: Boxes of an image of random data. COCO has 7 on average.
BOXES = 8

#: Heads of detectors of one stage, of two, of such that predict masks at once, and of
#: models on videos.
ONE_STAGE = ('bbox_head',)
HEADS = (*ONE_STAGE, 'roi_head', 'panoptic_head', *videos.HEADS)


def config_detector(path: str, heads: Sequence[str] = ONE_STAGE) -> Dict[str, Any]:
    """Read `model` of a config file, its weights untouched by checkpoints.

    Args:
        path: a config file, or `mmdet::…` for one of mmdet's own.
        heads: of :data:`HEADS`, those of which a model must have one.

    Raises:
        UserError: if the file cannot be read, or its backbone cannot be analyzed.
    """
    backbone = config_backbone(path)
    config = packaged_config(path) if '::' in path else load_config(path)
    detector = config.model.to_dict()
    if not any(head in detector for head in heads):
        named = 'detectors of one stage, such as DINO and RetinaNet'
        if heads != ONE_STAGE:
            named += (
                '; of two, such as Mask R-CNN; Mask2Former; EndToEndLocalizer and '
                'recognizers of videos'
            )
        raise UserError(
            f'config {path!r} has no model.{" or model.".join(heads)}; accepted: '
            f'{named}'
        )
    detector.pop('data_preprocessor', None)
    detector.pop('init_cfg', None)
    return dict(detector, backbone=backbone)


def detector_variant(
    detector: Dict[str, Any],
    mode: str,
    backbone: Optional[Dict[str, Any]] = None,
    **dual_residual: Any,
) -> Dict[str, Any]:
    """Return the arguments of a detector whose backbone runs in another mode.

    Args:
        detector: arguments of the detector.
        mode: 'conventional', 'checkpoint' or 'dr2'.
        backbone: arguments of a backbone in place of the detector's own.
        dual_residual: options of mode 'dr2' in place of the backbone's.
    """
    backbone = backbone or detector['backbone']
    if mode == 'dr2':
        variant = reversible_backbone(backbone, **dual_residual)
    else:
        variant = conventional_backbone(backbone, with_cp=mode == 'checkpoint')
    # Building a detector writes into its arguments.
    return dict(copy.deepcopy(detector), backbone=variant)


def build_detector(detector: Dict[str, Any], rest: str = AS_IT_IS) -> nn.Module:
    """Build a detector from its arguments, in training mode.

    Args:
        detector: arguments of the detector.
        rest: what is done about the memory of the rest, such as :data:`PIECES`.

    Raises:
        UserError: if its class refuses the arguments, or it has no encoder.
    """
    if videos.has_video_head(detector):
        from mmaction.registry import MODELS
        from mmaction.utils import register_all_modules
    else:
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules

    import dr2net_mm  # noqa: F401 - registers our classes

    register_all_modules(init_default_scope=True)
    try:
        model = MODELS.build(ConfigDict(detector))
        if rest == ENCODER:
            checkpoint_modules(model, ['encoder.layers'])
        elif rest == PIECES:
            run_in_pieces(known_parts(model))
    except Exception as error:
        reason = describe(error)
        if reason is None:
            raise
        raise UserError(reason) from error
    model.train()
    return model


def has_encoder(detector: Dict[str, Any]) -> bool:
    """Return whether a detector has encoder layers that can be checkpointed."""
    return 'encoder' in detector


def savings_of(detector: Dict[str, Any]) -> Tuple[str, ...]:
    """Return what can be done about the memory of what is not the backbone."""
    if 'cls_head' in detector:  # a pooling and a layer
        return ()
    return (ENCODER, PIECES) if has_encoder(detector) else (PIECES,)


def samples_for(
    model: nn.Module, batch: int, image_size: Sequence[int], boxes: int = BOXES
) -> List[Any]:
    """Make data samples for the loss of a detector, with masks where it takes them."""
    head = getattr(model, 'panoptic_head', None)
    if head is not None:
        classes, stuff = head.num_things_classes, bool(head.num_stuff_classes)
        return random_samples(batch, image_size, classes, 'cpu', boxes, True, stuff)
    if not hasattr(model, 'roi_head'):
        classes = model.bbox_head.num_classes
        return random_samples(batch, image_size, classes, boxes=boxes)
    head = model.roi_head.bbox_head
    head = head[0] if isinstance(head, nn.ModuleList) else head
    masks = model.roi_head.with_mask
    return random_samples(batch, image_size, head.num_classes, 'cpu', boxes, masks)


def random_samples(
    batch: int,
    image_size: Sequence[int],
    classes: int,
    device: str = 'cpu',
    boxes: int = BOXES,
    masks: bool = False,
    stuff: bool = False,
) -> List[Any]:
    """Make data samples with random boxes, the same ones each time.

    Args:
        batch: images.
        image_size: height and width in pixels.
        classes: classes of the boxes.
        device: where the boxes are.
        boxes: boxes of an image.
        masks: whether they have masks.
        stuff: whether pixels have a class too.
    """
    import numpy as np
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData, PixelData

    generator = torch.Generator().manual_seed(0)
    height, width = image_size
    scale = torch.tensor([width, height], dtype=torch.float32)
    samples = []
    for _ in range(batch):
        corner = torch.rand(boxes, 2, generator=generator) * 0.5
        extent = torch.rand(boxes, 2, generator=generator) * 0.4 + 0.1
        found = torch.cat([corner * scale, (corner + extent) * scale], dim=1)
        labels = torch.randint(classes, (boxes,), generator=generator)
        sample = DetDataSample(
            metainfo=dict(
                img_shape=tuple(image_size),
                batch_input_shape=tuple(image_size),
                pad_shape=tuple(image_size),
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=found.to(device), labels=labels.to(device)
        )
        if masks:
            empty = np.zeros((boxes, height, width), dtype=np.uint8)
            sample.gt_instances.masks = BitmapMasks(empty, height, width)
        if stuff:
            pixels = torch.full((1, height, width), classes)
            sample.gt_sem_seg = PixelData(sem_seg=pixels)
        samples.append(sample)
    return samples


@contextlib.contextmanager
def enough_queries(images: Tensor) -> Iterator[None]:
    """Explain what a DETR-like detector says of too small images.

    Raises:
        UserError: if its encoder has fewer tokens than its decoder has queries.
    """
    try:
        yield
    except RuntimeError as error:
        # What torch.topk says with values, and on meta tensors.
        if not re.search('k out of range|k not in range', str(error)):
            raise
        height, width = images.shape[-2:]
        raise UserError(
            f'images of {height}x{width} give the encoder fewer tokens than the '
            'detector has queries; use larger images'
        ) from error


def detector_loss(model: nn.Module, images: Tensor, samples: Sequence[Any]) -> Tensor:
    """Compute the loss that the detector is trained with, a scalar."""
    with enough_queries(images):
        total, _ = model.parse_losses(model.loss(images, samples))
    return total
