"""The tool that exports to ONNX, from config and checkpoint to a file."""

import io
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import dr2net_mm  # noqa: F401
from tests.fixtures.scripts import load_script

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

SCRIPT = Path(__file__).parents[2] / 'tools/model_converters/export_onnx.py'

DETECTOR = """
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model['backbone'] = dict(
    type='Dr2SwinTransformer', embed_dims=4, depths=(1, 1, 2, 1),
    num_heads=(1, 1, 2, 2), window_size=4, out_indices=(1, 2, 3),
    dual_residual=dict(alpha=1.0, beta=0.1),
)
"""

VIT = """dict(
    type='Dr2VisionTransformer', img_size=8, patch_size=4, embed_dims=24, depth=2,
    num_heads=3, num_frames=4,
)"""
SWIN3D = """dict(
    type='Dr2SwinTransformer3D', patch_size=(2, 4, 4), window_size=(2, 4, 4),
    arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]), out_indices=(1,),
)"""
HEADS = {
    VIT: "dict(type='TimeSformerHead', num_classes=5, in_channels=24)",
    SWIN3D: "dict(type='I3DHead', num_classes=5, in_channels=16, spatial_type='avg')",
}

RECOGNIZER = """
default_scope = 'mmaction'
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model = dict(
    type='Recognizer3D', backbone={backbone}, cls_head={head},
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[100.0, 110.0, 120.0], std=[50.0] * 3,
        format_shape='NCTHW',
    ),
)
"""


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


def saved(config, checkpoint, pair=None):
    """The model of a config, after its random weights were saved."""
    cfg = Config.fromfile(str(config))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if pair is not None:
        model.backbone.set_coefficients(*pair)
    model.eval()
    torch.save(dict(state_dict=model.state_dict()), str(checkpoint))
    return model


@pytest.fixture
def detector(toy_run):
    """Config and checkpoint of a detector that was trained to (0.4, 0.6)."""
    toy_run.config.write_text(toy_run.config.read_text() + DETECTOR)
    checkpoint = toy_run.folder / 'detector.pth'
    saved(toy_run.config, checkpoint, (0.4, 0.6))
    return str(toy_run.config), str(checkpoint)


def run(path, x):
    session = onnxruntime.InferenceSession(str(path))
    return [torch.from_numpy(a) for a in session.run(None, {'input': x.numpy()})]


def test_the_backbone_of_a_detector_is_exported_at_the_checkpoints_coefficients(
    detector, tool, tmp_path, capsys
):
    target = tmp_path / 'swin.onnx'
    assert tool.main([*detector, str(target), '--shape', '64', '80']) == 0
    said = capsys.readouterr().out
    assert 'alpha = 0.4, beta = 0.6, of the checkpoint' in said
    assert 'input: float32 [batch, 3, 64, 80]' in said and 'std=[255.0' in said
    assert 'feature_2: float32 [batch, 32, 2, 3]' in said
    assert 'largest difference from torch' in said
    model = saved(detector[0], tmp_path / 'again.pth', (0.4, 0.6))
    x = torch.randn(3, 3, 64, 80)
    with torch.no_grad():
        expected = model.backbone(x)
    for ours, theirs in zip(expected, run(target, x)):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('backbone', [VIT, SWIN3D], ids=['vit', 'swin3d'])
def test_logits_of_a_recognizer_are_exported(backbone, tool, tmp_path, capsys):
    config, checkpoint = tmp_path / 'recognizer.py', tmp_path / 'recognizer.pth'
    config.write_text(RECOGNIZER.format(backbone=backbone, head=HEADS[backbone]))
    model = saved(config, checkpoint)
    target, options = tmp_path / 'recognizer.onnx', []
    clips = torch.randn(2, 1, 3, 4, 8, 8)
    if backbone is SWIN3D:
        clips, options = torch.randn(2, 1, 3, 4, 32, 24), ['--shape', '4', '32', '24']
    assert tool.main([str(config), str(checkpoint), str(target), *options]) == 0
    assert 'logits: float32 [batch, 5]' in capsys.readouterr().out
    with torch.no_grad():
        features, options = model.extract_feat(clips)
        expected = model.cls_head(features, **options)
    (logits,) = run(target, clips[:, 0])
    assert torch.allclose(logits, expected, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_without_coefficients_takes_the_configs(
    detector, tool, tmp_path, capsys
):
    config, checkpoint = detector
    content = torch.load(checkpoint, weights_only=True)
    content['state_dict'] = {
        name: value
        for name, value in content['state_dict'].items()
        if 'dual_residual' not in name
    }
    torch.save(content, checkpoint)
    target = str(tmp_path / 'swin.onnx')
    assert tool.main([config, checkpoint, target, '--shape', '32', '32']) == 0
    said = capsys.readouterr().out
    assert 'alpha = 1.0, beta = 0.1, of the config' in said
    properties = onnx.load(target).metadata_props
    assert ('beta', '0.1') in [(entry.key, entry.value) for entry in properties]


class OpensFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return io.open, (self.path, 'w')


def without_shape(arguments, folder):
    return arguments


def with_three_sizes(arguments, folder):
    return [*arguments, '--shape', '4', '32', '32']


def as_recognizer(arguments, folder):
    return [*arguments, '--shape', '32', '32', '--part', 'recognizer']


def conventional(arguments, folder):
    config = Path(arguments[0])
    config.write_text(config.read_text() + "\nmodel['backbone'] = dict(type='ResNet'"
                      ', depth=18)\n')  # fmt: skip
    return [*arguments, '--shape', '32', '32']


def other_width(arguments, folder):
    config = Path(arguments[0])
    config.write_text(config.read_text() + "\nmodel['backbone']['embed_dims'] = 8\n")
    return [*arguments, '--shape', '32', '32']


def too_exact(arguments, folder):
    return [*arguments, '--shape', '32', '32', '--tolerance', '1e-12']


def existing(arguments, folder):
    Path(arguments[2]).write_text('precious')
    return [*arguments, '--shape', '32', '32']


def malicious(arguments, folder):
    content = dict(state_dict={}, extra=OpensFile(str(folder / 'harm')))
    torch.save(content, arguments[1])
    return [*arguments, '--shape', '32', '32']


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (without_shape, '--shape HEIGHT WIDTH'),
        (with_three_sizes, 'got [4, 32, 32]'),
        (as_recognizer, '--part backbone'),
        (conventional, 'does not fit the config'),
        (other_width, 'does not fit the config'),
        (too_exact, 'nothing was written'),
        (existing, '--force'),
        (malicious, 'not loaded unasked'),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(
    spoil, message, detector, tool, tmp_path, error_line
):
    target = tmp_path / 'swin.onnx'
    arguments = spoil([*detector, str(target)], tmp_path)
    assert tool.main(arguments) == 2
    assert message in error_line()
    assert not target.exists() or target.read_text() == 'precious'
    assert not (tmp_path / 'harm').exists()


def test_a_network_that_is_not_dual_residual_is_refused(tool, tmp_path, error_line):
    config, checkpoint = tmp_path / 'recognizer.py', tmp_path / 'recognizer.pth'
    plain = VIT.replace('Dr2VisionTransformer', 'VisionTransformer')
    config.write_text(RECOGNIZER.format(backbone=plain, head=HEADS[VIT]))
    saved(config, checkpoint)
    assert tool.main([str(config), str(checkpoint), str(tmp_path / 'a.onnx')]) == 2
    assert 'is no dual-residual backbone' in error_line()
