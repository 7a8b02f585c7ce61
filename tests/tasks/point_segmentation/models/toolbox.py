"""A tiny Pix4Point and a batch for it."""

from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

import dr2net_mm  # noqa: F401
from dr2net_mm.tasks.point_segmentation.structures import PointSample

ENCODER = dict(
    embed_dims=24,
    depth=2,
    num_heads=3,
    widths=(12, 24),
    ratios=(2, 2),
    neighbors=6,
    drop_path_rate=0.0,
)
CLASSES = 5


def pix4point(kind: str = 'Dr2PointViT', seed: int = 0, **changes: Any) -> nn.Module:
    """The model; arguments of it under their names, all others of the encoder."""
    own = {
        key: changes.pop(key)
        for key in ('label_smoothing', 'padding_in_loss', 'test_cfg', 'recompute')
        if key in changes
    }
    dropout = changes.pop('dropout', 0.0)
    if 'pretrained' in changes:
        checkpoint = changes.pop('pretrained')
        changes['init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
    torch.manual_seed(seed)
    model = MODELS.build(
        dict(
            type='Pix4Point',
            encoder=dict(type=kind, **{**ENCODER, **changes}),
            decoder=dict(type='PointDecoder', channels=20),
            head=dict(
                type='PointSegmentationHead',
                num_classes=CLASSES,
                channels=16,
                dropout=dropout,
            ),
            **own,
        )
    )
    return randomized(model)


def randomized(model: nn.Module) -> nn.Module:
    """Norms and running statistics that are not the neutral ones."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def batch(points: int = 32, clouds: int = 2) -> Tuple[Tensor, List[PointSample]]:
    """Clouds of which the last points repeat the first, and their labels."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.rand(clouds, points, 7, generator=generator)
    inputs[:, -points // 4 :] = inputs[:, : points // 4]
    samples = []
    for _ in range(clouds):
        sample = PointSample(metainfo=dict(cloud=0))
        sample.labels = torch.randint(CLASSES, (points,), generator=generator)
        sample.labels[3] = 255
        sample.indices = torch.arange(points)
        sample.valid = torch.arange(points) < 3 * points // 4
        samples.append(sample)
    return inputs, samples


def weights_of(model: nn.Module) -> Dict[str, np.ndarray]:
    return {n: v.double().numpy() for n, v in model.state_dict().items()}


def gradients(model: nn.Module, seed: int = 7, amp: bool = False) -> Dict[str, Tensor]:
    """The loss and the gradients of one training step, by parameter."""
    model.train()
    inputs, samples = batch()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = model.loss(inputs, samples)['loss']
        loss.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    return {**found, 'loss': loss.detach()}


def assert_same(one: Dict[str, Tensor], other: Dict[str, Tensor]) -> None:
    """The same to the last bit, and everything has a gradient that is not zero."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value is not None and value.any(), name
        assert torch.isfinite(value).all() and torch.equal(value, other[name]), name
