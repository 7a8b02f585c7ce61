"""What other tools do with a backbone: count it, record it, change its outputs."""

from typing import List, Tuple

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import Tensor, nn

from dr2net_mm.backbones import (
    Dr2MViT,
    Dr2SwinTransformer,
    Dr2SwinTransformer3D,
    Dr2TimmBackbone,
    Dr2VisionTransformer,
)

# The stage in the middle has no blocks.
DEPTHS = dict(embed_dims=8, depths=(2, 0, 2), num_heads=(1, 2, 4))
BACKBONES = dict(
    swin=(
        Dr2SwinTransformer,
        dict(DEPTHS, strides=(4, 2, 2), out_indices=(0, 1, 2), window_size=4),
        (3, 64, 64),
    ),
    swin3d=(
        Dr2SwinTransformer3D,
        dict(
            arch=DEPTHS, pretrained2d=False, window_size=(2, 4, 4),
            out_indices=(0, 1, 2),
        ),
        (3, 4, 64, 64),
    ),
    vit=(
        Dr2VisionTransformer,
        dict(
            img_size=16, patch_size=8, embed_dims=8, depth=2, num_heads=2,
            num_frames=4, return_feat_map=True,
        ),
        (3, 4, 16, 16),
    ),
)  # fmt: skip


@pytest.fixture(params=sorted(BACKBONES))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def pair(kind: str, **options) -> Tuple[nn.Module, nn.Module, Tensor]:
    """A backbone, its plain parent with the same weights, and an input."""
    made, arguments, shape = BACKBONES[kind]
    torch.manual_seed(0)
    backbone = made(**arguments, drop_path_rate=0.0, dual_residual=options)
    plain = next(
        cls for cls in made.__mro__ if cls.__module__.startswith(('mmdet', 'mmaction'))
    )(**arguments, drop_path_rate=0.0)
    plain.load_state_dict(backbone.state_dict(), strict=False)
    return backbone, plain, torch.randn(1, *shape)


def maps(outputs) -> List[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def test_mmengine_counts_as_many_operations_as_in_the_plain_network(kind):
    backbone, plain, x = pair(kind)
    found, wanted = (
        get_model_complexity_info(model, input_shape=tuple(x.shape[1:]))
        for model in (backbone, plain)
    )
    assert found['flops'] == wanted['flops'] > 1e4
    assert found['params'] == wanted['params']
    assert found['activations'] == wanted['activations']


def test_results_of_padding_are_not_counted():
    backbone, plain, _ = pair('swin')
    found, wanted = (
        get_model_complexity_info(model, input_shape=(3, 40, 56))['flops']
        for model in (backbone, plain)
    )
    # The plain network also projects what padding attends to, and throws it away.
    assert 0.9 * wanted < found < wanted


def test_a_recorded_graph_is_the_network_and_has_its_gradients(kind):
    backbone, plain, x = pair(kind, alpha=1.0, beta=0.0)
    backbone.eval(), plain.eval()
    traced = torch.jit.trace(backbone, x)
    exported = torch.export.export(backbone, (x,)).module()
    wanted = maps(plain(x))
    sum(out.square().mean() for out in wanted).backward()
    for model in (traced, exported):
        found = maps(model(x))
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    sum(out.square().mean() for out in maps(traced(x))).backward()
    for name, parameter in plain.named_parameters():
        gradient = backbone.get_parameter(name).grad
        if parameter.grad is None:
            assert gradient is None
            continue
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-6, rtol=1e-3)
    # What was made for the graph does not stay behind.
    backbone.train()
    assert all(out.requires_grad for out in maps(backbone(x)))


def test_a_symbolic_trace_says_what_works(kind):
    backbone, _, _ = pair(kind)
    with pytest.raises(TypeError, match=f'{type(backbone).__name__}.*torch.export'):
        torch.fx.symbolic_trace(backbone)


@pytest.mark.parametrize('name', ['vit', 'image_mvit', 'video_mvit', 'mvit', 'timm'])
def test_further_backbones_are_counted_exported_and_changed_in_place(name, rev):
    if name in ('mvit', 'timm'):
        backbone, shape = further(name)
    else:
        backbone, shape = rev.build(name), tuple(rev.input(name).shape[1:])
    assert get_model_complexity_info(backbone, input_shape=shape)['flops'] > 1e4
    with pytest.raises(TypeError, match=f'{type(backbone).__name__}.*torch.export'):
        torch.fx.symbolic_trace(backbone)
    backbone.eval()
    x = torch.randn(1, *shape)
    exported = torch.export.export(backbone, (x,)).module()
    for one, other in zip(rev.flat(exported(x)), rev.flat(backbone(x))):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    gradients = []
    for change in (torch.relu, torch.relu_):
        backbone.train().zero_grad(set_to_none=True)
        outputs = rev.flat(backbone(x))
        sum(change(out).square().mean() for out in outputs).backward()
        found = {n: p.grad for n, p in backbone.named_parameters()}
        gradients.append({n: g for n, g in found.items() if g is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, atol=1e-4, rtol=1e-4)


def further(name: str) -> Tuple[nn.Module, Tuple[int, ...]]:
    """A tiny backbone of mmaction's MViT or of timm, and the shape of an input."""
    if name == 'mvit':
        arch = dict(embed_dims=8, num_layers=5, num_heads=1, downscale_indices=[1, 3])
        arguments = dict(arch=arch, spatial_size=32, temporal_size=4, drop_path_rate=0)
        return Dr2MViT(**arguments, out_scales=[0, 1, 2]), (3, 4, 32, 32)
    pytest.importorskip('timm.models')
    arguments = dict(depths=(1, 2, 2, 1), dims=(16, 16, 32, 32))
    return Dr2TimmBackbone('convnext_tiny', out_indices=(1, 3), **arguments), (
        3,
        64,
        64,
    )


@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
def test_outputs_may_be_changed_in_place(kind, arithmetic):
    found = []
    for backprop in ('reversible', 'stored'):
        options = dict(alpha=0.5, beta=0.5, arithmetic=arithmetic, backprop=backprop)
        backbone, _, x = pair(kind, **options)
        outputs = maps(backbone.train()(x))
        sum(out.relu_().square().mean() for out in outputs).backward()
        # A norm is not used where the ViT returns its feature map.
        used = [p for p in backbone.named_parameters() if 'fc_norm' not in p[0]]
        found.append({name: parameter.grad for name, parameter in used})
    for name, gradient in found[1].items():
        if arithmetic == 'exact':
            assert torch.equal(found[0][name], gradient), name
        else:
            torch.testing.assert_close(found[0][name], gradient, atol=1e-5, rtol=1e-3)
    assert any(float(gradient.abs().max()) > 1e-4 for gradient in found[1].values())


@pytest.mark.parametrize('budget', [None, 0.5])
def test_a_stage_without_blocks_is_none(budget):
    backbone, plain, x = pair('swin', alpha=1.0, beta=0.0, memory_budget=budget)
    plain.train()
    found, wanted = maps(backbone.train()(x)), maps(plain(x))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    for outputs in (found, wanted):
        sum(out.square().mean() for out in outputs).backward()
    for name, parameter in plain.named_parameters():
        gradient = backbone.get_parameter(name).grad
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize('stages', [-2, 4, 1.5, True])
def test_more_frozen_stages_than_there_are_is_one_line(stages):
    for kind in ('swin', 'swin3d'):
        made, arguments, _ = BACKBONES[kind]
        with pytest.raises(ValueError, match='has 3 stages.*0 .* to 3'):
            made(**arguments, frozen_stages=stages)
