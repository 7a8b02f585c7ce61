"""Regions in place of those that a detector of two stages chooses by their scores."""

import contextlib
import functools
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.errors import UserError

#: What a region proposed for a box may be off, as a share of its size.
SHIFT = 0.05

#: Regions of an image where the config does not say how many there are at most.
USUAL = 1000


@contextlib.contextmanager
def given_regions(model: nn.Module, samples: Sequence[Any]) -> Iterator[None]:
    """Let a detector of two stages go on from given regions, without values.

    Half of the regions of an image are close to its boxes, so that as many are
    positive as its sampler takes: the heads for regions see the largest batches, above
    all those of masks. Models without regions are left alone.

    Args:
        model: The detector, on the meta device.
        samples: Data samples of the batch, on the host.

    Raises:
        UserError: If the class of its heads is not one that is known.
    """
    found: List[Tuple[nn.Module, str, Callable[..., Any]]] = []
    if hasattr(model, 'roi_head'):
        _check(model)
        found.append((model.rpn_head, 'predict_by_feat', _proposals(samples)))
        for module in model.roi_head.modules():
            if hasattr(module, 'refine_bboxes'):
                found.append((module, 'refine_bboxes', _refined))
            if type(module).__name__ == 'SingleRoIExtractor':
                pooled = functools.partial(_pooled_regions, module)
                found.append((module, 'forward', pooled))
    for module, name, replacement in found:
        setattr(module, name, replacement)
    try:
        yield
    finally:
        for module, name, _ in found:
            delattr(module, name)


def _check(model: nn.Module) -> None:
    """Refuse what reads values in other ways."""
    kind = type(model.roi_head).__name__
    accepted = ('StandardRoIHead', 'CascadeRoIHead')
    if kind not in accepted or not hasattr(model, 'rpn_head'):
        raise UserError(
            f'{type(model).__name__} with a {kind} cannot be counted; of detectors of '
            f'two stages those with an RPN and {" or ".join(accepted)} can, such as '
            'Faster, Mask and Cascade R-CNN'
        )
    for module in model.roi_head.modules():
        name = type(module).__name__
        if name.endswith('RoIExtractor') and name != 'SingleRoIExtractor':
            raise UserError(f'{name} cannot be counted; SingleRoIExtractor can')


def regions_of(sample: Any, count: int) -> Tensor:
    """Return regions of an image, the first half of them close to its boxes.

    Args:
        sample: Its data sample.
        count: How many.

    Returns:
        [count, 4], the coordinates of two opposite corners.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = sample.img_shape
    size = torch.tensor([width, height], dtype=torch.float32)
    corner = torch.rand(count, 2, generator=generator) * 0.8
    extent = torch.rand(count, 2, generator=generator) * 0.19 + 0.01
    regions = torch.cat([corner * size, (corner + extent) * size], dim=1)
    boxes = sample.gt_instances.bboxes.cpu()
    if len(boxes):
        close = boxes[torch.arange(count // 2) % len(boxes)]
        sides = (close[:, 2:] - close[:, :2]).repeat(1, 2)
        shifts = torch.rand(len(close), 4, generator=generator) - 0.5
        regions[: count // 2] = close + SHIFT * shifts * sides
    return regions


def _proposals(samples: Sequence[Any]) -> Callable[..., Any]:
    def predict(*outputs: Any, cfg: Any = None, **_: Any) -> List[Any]:
        from mmengine.structures import InstanceData

        count = (cfg or {}).get('max_per_img', USUAL)
        return [InstanceData(bboxes=regions_of(s, count)) for s in samples]

    return predict


def _refined(sampling_results: Sequence[Any], *_: Any) -> List[Any]:
    """Return the regions of a cascade's stage, for the next one."""
    from mmengine.structures import InstanceData

    return [InstanceData(bboxes=found.priors.clone()) for found in sampling_results]


class _RegionAlign(torch.autograd.Function):
    """Allocations of mmcv's RoIAlign, without its computation."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, count: int, size: Sequence[int]) -> Tensor:
        ctx.shape = features.shape
        return features.new_zeros(count, features.shape[1], *size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Any, ...]:
        pooled = grad.new_zeros(ctx.shape)
        grad.contiguous()
        return pooled, None, None


def _pooled_regions(
    extractor: nn.Module, features: Sequence[Tensor], rois: Tensor, **_: Any
) -> Tensor:
    """Return features of regions, whose places are on the host."""
    size = extractor.roi_layers[0].output_size
    if len(features) == 1:
        return _RegionAlign.apply(features[0], len(rois), size)
    pooled = features[0].new_zeros(len(rois), extractor.out_channels, *size)
    levels = extractor.map_roi_levels(rois, len(features))
    for level, x in enumerate(features):
        count = int((levels == level).sum())
        if count:
            index = torch.empty(count, dtype=torch.long, device=pooled.device)
            pooled[index] = _RegionAlign.apply(x, count, size)
        else:
            pooled += x.sum() * 0.0
    return pooled
