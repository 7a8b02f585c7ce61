"""Memory of the training step of a whole detector, counted on meta tensors.

Backbone, neck, encoder, decoder and the layers of the head run as in training. Two
things cannot: meta tensors have no values, so predictions are not matched with boxes,
and a sum of the head's outputs replaces the loss (which takes a few MB); and
sizes of feature maps, which DETR-like detectors read back from tensors, are kept on
the host.
"""

import contextlib
import copy
import warnings
from dataclasses import asdict
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from dr2net_mm.analysis.subjects.detectors import (
    AS_IT_IS,
    build_detector,
    detector_variant,
    enough_queries,
    samples_for,
    savings_of,
)
from dr2net_mm.analysis.subjects.videos import has_video_head, video_outputs
from dr2net_mm.backbones.branches.windows import window_pieces

from .given_regions import given_regions
from .loss_memory import recorded_losses
from .step_memory import measure_step

#: Integer tensors of at most so many numbers keep their values.
SMALL = 64


class ValuesOnHost(TorchDispatchMode):
    """Mode in which tensors on the host work together with meta tensors.

    Small integer tensors stay on the host when they are moved to the meta device;
    where any operator sees tensors of both, those of the host lose their values.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: D105
        kwargs = dict(kwargs or {})
        if func is torch.ops.aten._to_copy.default and _is_small(args[0]):
            kwargs['device'] = args[0].device
        elif _mixed(args, kwargs):
            args, kwargs = tree_map(_to_meta, (args, kwargs))
        return func(*args, **kwargs)

    def __exit__(self, *error):  # noqa: D105
        super().__exit__(*error)
        # Those made for the meta device within this mode are on the host.
        window_pieces.cache_clear()


def _is_small(tensor: Tensor) -> bool:
    on_host = tensor.device.type == 'cpu' and not tensor.is_floating_point()
    return on_host and tensor.numel() <= SMALL


def _mixed(args: Any, kwargs: Any) -> bool:
    from .storage_meter import tree_leaves

    found = {
        leaf.device.type
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, Tensor)
    }
    return 'meta' in found and len(found) > 1


def _to_meta(leaf: Any) -> Any:
    if isinstance(leaf, Tensor) and leaf.device.type == 'cpu' and leaf.dim():
        return leaf.to('meta')
    return leaf


class _DeformableAttention(torch.autograd.Function):
    """Allocations of mmcv's CUDA operator, without its computation."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        locations, weights = locations.type_as(value), weights.type_as(value)
        ctx.save_for_backward(value, locations, weights)
        batch, _, heads, channels = value.shape
        return value.new_empty(batch, locations.shape[1], heads * channels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Tensor, ...]:
        grad.contiguous()
        return tuple(torch.zeros_like(saved) for saved in ctx.saved_tensors)


@contextlib.contextmanager
def deformable_attention_of_cuda() -> Iterator[None]:
    """Let meta tensors take the memory of mmcv's CUDA operator.

    Off CUDA, mmcv computes multi-scale deformable attention from plain torch
    operations, which keep every sampled value.
    """
    from mmcv.ops import multi_scale_deform_attn as module

    original = module.multi_scale_deformable_attn_pytorch
    module.multi_scale_deformable_attn_pytorch = (
        lambda value, shapes, locations, weights: _DeformableAttention.apply(
            value, locations, weights
        )
    )
    try:
        yield
    finally:
        module.multi_scale_deformable_attn_pytorch = original


def detector_outputs(model: nn.Module, images: Tensor, samples: Sequence[Any]) -> Any:
    """Return everything of a detector's outputs that a loss uses.

    Of detectors of two stages, and of those of masks, these are losses that keep what
    they are called with.

    Raises:
        UserError: if the detector needs values that meta tensors do not have.
    """
    if has_video_head(model):
        return video_outputs(model, images)
    if not hasattr(model, 'bbox_head'):
        with given_regions(model, samples), recorded_losses(model):
            return model.loss(images, copy.deepcopy(samples))
    features = model.extract_feat(images)
    if hasattr(model, 'forward_transformer'):
        with enough_queries(images):
            inputs = model.forward_transformer(features, samples)
        encoder = [value for key, value in inputs.items() if key.startswith('enc_')]
        return model.bbox_head(inputs['hidden_states'], inputs['references']), encoder
    return model.bbox_head(features)


class Row(NamedTuple):
    """One variant of a detector: name, mode and options of its backbone, the rest."""

    name: str
    mode: str
    dual_residual: Dict[str, Any]
    rest: str = AS_IT_IS


def detector_rows(
    detector: Dict[str, Any],
    dual_residual: Dict[str, Any],
    budgets: Sequence[Tuple[str, Any]] = (),
) -> List[Row]:
    """Return the compared variants: backbone modes, and savings in the rest.

    Args:
        detector: arguments of the detector.
        dual_residual: options of the dual-residual backbone.
        budgets: labels and values of `memory_budget` to be counted too.
    """
    modes: List[Tuple[str, str, Dict[str, Any]]] = [
        ('conventional', 'conventional', {}),
        ('checkpoint', 'checkpoint', {}),
        ('dr2', 'dr2', dual_residual),
    ]
    for label, budget in budgets:
        options = dict(dual_residual, memory_budget=budget)
        modes.append((f'dr2 (budget {label})', 'dr2', options))
    rows = [Row(*mode) for mode in modes]
    return rows + [
        Row(f'{name} + {rest}', mode, options, rest)
        for rest in savings_of(detector)
        for name, mode, options in modes[1:]
    ]


def detector_memory(
    detector: Dict[str, Any],
    row: Row,
    image_size: Sequence[int],
    batch: int,
    amp: Optional[torch.dtype] = None,
    cuda_operator: bool = True,
) -> Dict[str, Any]:
    """Count one training step of a detector.

    Args:
        detector: arguments of the detector.
        row: the variant.
        image_size: height and width in pixels.
        batch: images.
        amp: dtype of autocast, by CUDA's rules; None for fp32.
        cuda_operator: whether deformable attention takes the memory of mmcv's CUDA
            operator; otherwise that of its torch implementation.

    Returns:
        `mode`, and the fields of `StepMemory`.
    """
    variant = detector_variant(detector, row.mode, **row.dual_residual)
    model = build_detector(variant, row.rest).to('meta')
    channels = detector['backbone'].get('in_channels', 3)
    images = torch.empty(batch, channels, *image_size, device='meta')
    samples = [] if has_video_head(model) else samples_for(model, batch, image_size)
    with contextlib.ExitStack() as stack:
        # mmdet leaves use_reentrant of checkpoint, and indexing of meshgrid, unsaid.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings('ignore', message='.*(use_reentrant|meshgrid)')
        if cuda_operator:
            stack.enter_context(deformable_attention_of_cuda())
        stack.enter_context(ValuesOnHost())
        memory = measure_step(
            model,
            images,
            forward=lambda inputs: detector_outputs(model, inputs, samples),
            amp=amp,
        )
    return dict(mode=row.name, **asdict(memory))
