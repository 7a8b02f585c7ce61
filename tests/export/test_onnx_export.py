"""Graphs of dual-residual backbones give what the backbones give."""

import importlib

import pytest
import torch
from mmengine.registry import MODELS

import dr2net_mm  # noqa: F401
from dr2net_mm.errors import UserError
from dr2net_mm.export import onnx_export
from dr2net_mm.export.float_stage import float_stages
from dr2net_mm.export.networks import largest_difference
from dr2net_mm.export.onnx_export import export_onnx

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

# Windows of 5 do not divide the grids of the example, so that there is padding.
SWIN = dict(
    type='Dr2SwinTransformer', embed_dims=8, depths=(2, 2), num_heads=(1, 2),
    strides=(4, 2), window_size=5, out_indices=(0, 1),
)  # fmt: skip
SWIN3D = dict(
    type='Dr2SwinTransformer3D', window_size=(2, 5, 5), out_indices=(0, 1),
    arch=dict(embed_dims=8, depths=[2, 2], num_heads=[1, 2]), patch_size=(2, 4, 4),
)  # fmt: skip
VIT = dict(
    type='Dr2VisionTransformer', img_size=16, patch_size=4, embed_dims=24, depth=2,
    num_heads=3, num_frames=4, init_values=0.5,
)  # fmt: skip

REV_ARCH = dict(
    embed_dims=8, num_layers=3, num_heads=1, downscale_indices=(1,),
    patch_kernel=(3, 3), patch_stride=(4, 4), patch_padding=(1, 1),
    pool_kernel=(1, 3, 3), kv_stride=(1, 2, 2), fuse='concat_mlp', qkv_bias=True,
)  # fmt: skip
# Blocks are cut into pieces in training, and in no graph.
OTHERS = dict(
    timm=dict(
        type='Dr2TimmBackbone', model_name='vit_tiny_patch16_224', img_size=32,
        embed_dim=24, depth=2, num_heads=3, out_indices=[0, 1],
    ),
    rev_vit=dict(
        type='RevVisionTransformer', img_size=32, patch_size=8, out_type='featmap',
        arch=dict(embed_dims=16, num_layers=2, num_heads=2),
    ),
    rev_mvit=dict(type='RevMViT', arch=REV_ARCH, img_size=32, out_scales=(0, 1)),
    mvit=dict(
        type='Dr2MViT', spatial_size=16, temporal_size=4, out_scales=[0, 1],
        arch=dict(embed_dims=8, num_layers=3, num_heads=1, downscale_indices=[1]),
        output_cls_token=False,
    ),
)  # fmt: skip


def build(backbone, alpha=0.4, beta=0.6, **options):
    torch.manual_seed(3)
    options = dict(alpha=alpha, beta=beta, **options)
    model = MODELS.build(dict(backbone, dual_residual=options))
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    return model


def run(exported, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exported.content, options)
    return [torch.from_numpy(a) for a in session.run(None, {'input': x.numpy()})]


def check_batches(model, exported):
    for batch in (1, 2, 5):
        x = model.example_input(batch)
        with torch.no_grad():
            expected = model(x)
        expected = expected if isinstance(expected, (list, tuple)) else [expected]
        found = run(exported, x)
        assert [a.shape for a in found] == [b.shape for b in expected]
        assert largest_difference(found, expected) < 1e-3


@pytest.mark.parametrize('name', OTHERS)
def test_other_backbones_of_any_batch_size_are_exported(name):
    model = build(OTHERS[name], chunk=16)
    check_batches(model, export_onnx(model, model.example_input()))


def test_a_swin_of_any_batch_size_is_exported():
    model = build(SWIN)
    exported = export_onnx(model, model.example_input())
    assert list(exported.outputs) == ['feature_0', 'feature_1']
    assert exported.outputs['feature_0'] == (1, 8, 16, 24)
    assert exported.from_float < 1e-5 and exported.from_network < 1e-3
    check_batches(model, exported)
    # And goes on as it was.
    assert type(model._dual_residual_stages[0]).__name__ == 'DualResidualStage'


def test_a_video_swin_is_exported():
    model = build(SWIN3D)
    exported = export_onnx(model, model.example_input())
    assert exported.outputs['feature_1'] == (1, 16, 4, 8, 12)
    check_batches(model, exported)


@pytest.mark.parametrize(
    ('backbone', 'shape'), [(SWIN, (1, 3, 61, 83)), (SWIN3D, (1, 3, 7, 37, 43))]
)
def test_sizes_that_nothing_divides_are_exported(backbone, shape):
    model = build(backbone)
    exported = export_onnx(model, torch.randn(shape))
    assert exported.from_float < 1e-5


@pytest.mark.parametrize('mapped', [False, True])
def test_a_vit_is_exported(mapped):
    model = build(dict(VIT, return_feat_map=mapped))
    exported = export_onnx(model, model.example_input(), output_name='tokens')
    assert exported.outputs == {'tokens': (1, 24, 2, 4, 4) if mapped else (1, 24)}
    check_batches(model, exported)


def test_coefficients_are_constants_of_the_graph_and_told_beside_it():
    graphs = {}
    for pair in ((1.0, 0.0), (0.0, 1.0), (0.4, 0.6)):
        model = build(VIT, *pair)
        exported = export_onnx(model, model.example_input())
        content = onnx.load_from_string(exported.content)
        properties = {entry.key: entry.value for entry in content.metadata_props}
        assert (properties['alpha'], properties['beta']) == tuple(map(str, pair))
        assert [entry.name for entry in content.graph.input] == ['input']
        kinds = [node.op_type for node in content.graph.node]
        graphs[pair] = kinds.count('Mul'), kinds.count('Add')
    # No stream is multiplied by 0 or 1, and with a 0 there is one addition less.
    assert graphs[1.0, 0.0] == graphs[0.0, 1.0] < graphs[0.4, 0.6]


@pytest.mark.parametrize('backbone', [SWIN, SWIN3D, VIT])
@pytest.mark.parametrize(
    'options',
    [
        dict(alpha=1.0, beta=0.0, fusion='mean'),
        dict(alpha=0.3, beta=0.7, fusion='mean'),
        dict(alpha=0.3, beta=0.7, arithmetic='float'),
        dict(alpha=1.0, beta=1.0, chunk=16),
    ],
)
def test_float_stages_compute_what_the_stages_do(backbone, options):
    model = build(backbone, **options)
    x = model.example_input(2)
    with torch.no_grad():
        expected = model(x)
        with float_stages(model):
            found = model(x)
    tolerance = 1e-5 if options.get('arithmetic') == 'float' else 1e-3
    assert largest_difference(found, expected) < tolerance


def test_float_stages_are_for_export_only():
    model = build(VIT)
    with float_stages(model), pytest.raises(RuntimeError, match='no_grad'):
        model(model.example_input())


def test_a_graph_that_is_too_far_is_refused():
    model = build(VIT)
    with pytest.raises(UserError, match='nothing was written'):
        export_onnx(model, model.example_input(), tolerance=1e-12)


def test_a_graph_of_nan_is_refused():
    model = build(VIT, arithmetic='float')
    model.fc_norm.bias.data.fill_(float('nan'))
    with pytest.raises(UserError, match='differ by nan'):
        export_onnx(model, model.example_input())


def test_an_opset_without_the_operators_is_refused():
    model = build(VIT)
    with pytest.raises(UserError, match='opset 5'):
        export_onnx(model, model.example_input(), opset=5)


def test_missing_packages_are_named_with_what_installs_them(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(onnx_export.importlib, 'import_module', absent)
    with pytest.raises(UserError, match='pip install onnx onnxruntime'):
        onnx_export.check_packages()
    assert importlib is onnx_export.importlib
