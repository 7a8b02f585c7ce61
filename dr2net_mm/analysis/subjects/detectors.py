"""Detectors of a config in the variants that are compared, and random data for them."""

import contextlib
import copy
import re
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.cli.run_tool import describe
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.memory.activation_checkpoint import checkpoint_modules
from dr2net_mm.memory.in_pieces import run_in_pieces
from dr2net_mm.memory.parts import known_parts

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


def config_detector(path: str) -> Dict[str, Any]:
    """Read `model` of a config file, its weights untouched by checkpoints.

    Args:
        path: a config file, or `mmdet::…` for one of mmdet's own.

    Raises:
        UserError: if the file cannot be read, or its backbone cannot be analyzed.
    """
    backbone = config_backbone(path)
    config = packaged_config(path) if '::' in path else load_config(path)
    detector = config.model.to_dict()
    if 'bbox_head' not in detector:
        raise UserError(
            f'config {path!r} has no model.bbox_head; --detector and --fit take '
            'detectors of one stage, such as DINO and RetinaNet'
        )
    detector.pop('data_preprocessor', None)
    return dict(detector, backbone=backbone, init_cfg=None)


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
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    import dr2net_mm  # noqa: F401 - registers our classes

    register_all_modules(init_default_scope=True)
    try:
        model = MODELS.build(dict(detector))
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
    return (ENCODER, PIECES) if has_encoder(detector) else (PIECES,)


def random_samples(
    batch: int,
    image_size: Sequence[int],
    classes: int,
    device: str = 'cpu',
    boxes: int = BOXES,
) -> List[Any]:
    """Make data samples with random boxes, the same ones each time."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

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
