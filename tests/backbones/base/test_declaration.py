"""What every backbone says of itself is true."""

from typing import Any, Dict

import pytest
import torch
from mmengine.registry import MODELS

import dr2net_mm  # noqa: F401
from dr2net_mm.backbones import DualResidualBackbone

NARROW = dict(depths=(1, 1), num_heads=(2, 2))

BACKBONES: Dict[str, Dict[str, Any]] = {
    'swin': dict(
        type='Dr2SwinTransformer',
        embed_dims=8,
        out_indices=(1,),
        strides=(4, 2),
        **NARROW,
    ),
    'video-swin': dict(
        type='Dr2SwinTransformer3D',
        arch=dict(embed_dims=8, **NARROW),
        out_indices=(1,),
        window_size=(2, 7, 7),
    ),
    'videomae': dict(
        type='Dr2VisionTransformer',
        img_size=32,
        embed_dims=16,
        depth=2,
        num_heads=2,
        num_frames=4,
    ),
    'mvit': dict(
        type='Dr2MViT',
        arch=dict(embed_dims=8, num_layers=3, num_heads=1, downscale_indices=[1]),
        spatial_size=16,
        temporal_size=4,
        output_cls_token=False,
    ),
    'timm': dict(
        type='Dr2TimmBackbone',
        model_name='vit_tiny_patch16_224',
        img_size=32,
        embed_dim=16,
        depth=2,
        num_heads=2,
    ),
}


@pytest.fixture(params=BACKBONES)
def config(request) -> Dict[str, Any]:
    return dict(BACKBONES[request.param], dual_residual=dict(alpha=1.0, beta=0.0))


@pytest.fixture
def model(config: Dict[str, Any]) -> DualResidualBackbone:
    return MODELS.build(config).eval()


def test_it_takes_its_example_which_is_always_the_same(model) -> None:
    example = model.example_input(2)
    assert example.shape == (2, *model.example_size())
    assert torch.equal(example, model.example_input(2))
    with torch.no_grad():
        model(example)


def test_costs_are_of_every_stage_and_grow_with_the_batch(model) -> None:
    one, two = (model.input_costs((n, *model.example_size())) for n in (1, 2))
    assert len(one) == len(model.stage_names)
    assert [2 * cost.stream for cost in one] == [cost.stream for cost in two]
    assert all(step.kept > 0 for cost in one for step in cost.steps)


def test_its_conventional_twin_takes_its_weights_and_gives_its_features(
    config: Dict[str, Any], model
) -> None:
    plain = type(model).plain_config(config)
    twin = MODELS.build(plain)
    twin.eval()
    state = model.state_dict()
    twin.load_state_dict({k: v for k, v in state.items() if 'dual_residual' not in k})
    example = model.example_input()
    with torch.no_grad():
        found, expected = model(example), twin(example)
    found, expected = (
        [out] if isinstance(out, torch.Tensor) else list(out)
        for out in (found, expected)
    )
    for a, b in zip(found, expected):
        # Fixed-point steps.
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
