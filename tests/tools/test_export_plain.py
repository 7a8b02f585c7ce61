"""From a training that ends at (1, 0) to a network that knows no dr2net_mm."""

import io
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import load_checkpoint

from tests.fixtures.scripts import load_script

DETECTOR = """
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model['backbone'] = dict(
    type='Dr2SwinTransformer', embed_dims=4, depths=(1, 1, 2, 1),
    num_heads=(1, 1, 2, 2), window_size=4, out_indices=(1, 2, 3),
)
custom_hooks = [
    dict(
        type='Dr2CoefficientHook', start=(1.0, 0.1), end=(1.0, 0.0), monotone=False,
        end_iter=1, interval=1,
    )
]
experiment_name = 'ends_plain'
"""

RECOGNIZER = """
default_scope = 'mmaction'
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='Dr2VisionTransformer', img_size=8, patch_size=4, embed_dims=24, depth=2,
        num_heads=3, num_frames=4, dual_residual=dict(alpha=1.0, beta=0.0),
    ),
    cls_head=dict(type='TimeSformerHead', num_classes=5, in_channels=24),
)
"""

# Runs without dr2net_mm, and with the package that mmaction2's wheel forgets.
CHILD = """
import importlib.abc, sys, types
import torch
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        # transformers, if there, needs cures of ours for torchvision and mmaction.
        if name.split('.')[0] in ('dr2net_mm', 'transformers'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
name = 'mmaction.models.localizers.drn'
sys.modules[name] = types.ModuleType(name)
sys.modules[name].__path__ = []
sys.modules[name + '.drn'] = types.ModuleType(name + '.drn')
sys.modules[name + '.drn'].DRN = object
name = 'mmaction.models.multimodal.vindlu'
sys.modules[name] = types.ModuleType(name)
import importlib.metadata
sys.modules.setdefault('importlib_metadata', importlib.metadata)
import mmcv
# MMAction2 refuses OneDL's MMCV by its number.
mmcv.__version__ = min(mmcv.__version__, '2.1.0')
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint
for config, checkpoint, image, out in zip(*[iter(sys.argv[1:])] * 4):
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.eval()
    # As mmengine without dr2net_mm would, on any torch.
    content = torch.load(checkpoint, map_location='cpu', weights_only=True)
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    with torch.no_grad():
        outputs = model(torch.load(image), mode='tensor')
    torch.save(outputs, out)
    print(type(model.backbone).__module__)
assert not any(name.startswith('dr2net_mm') for name in sys.modules)
"""


def outputs_of(config, checkpoint, image):
    cfg = Config.fromfile(str(config))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.eval()
    load_checkpoint(model, str(checkpoint), map_location='cpu', strict=True)
    with torch.no_grad():
        return model(image, mode='tensor')


def flat(outputs):
    if torch.is_tensor(outputs):
        return [outputs]
    return [tensor for item in outputs for tensor in flat(item)]


@pytest.fixture(scope='module')
def tool():
    return load_script('model_converters/export_plain.py')


@pytest.fixture(scope='module')
def trained(make_toy_run, tmp_path_factory):
    """A run of two iterations of a detector, the last of them at (1, 0)."""
    toy = make_toy_run(tmp_path_factory.mktemp('plain'))
    toy.config.write_text(toy.config.read_text() + DETECTOR)
    assert load_script('train.py').main([str(toy.config)]) == 0
    return toy


@pytest.fixture(scope='module')
def epoch_1(trained):
    return trained.work_dir / 'epoch_1.pth'


def recognizer(folder):
    """Config and checkpoint of an untrained recognizer at (1, 0)."""
    config, checkpoint = folder / 'recognizer.py', folder / 'recognizer.pth'
    config.write_text(RECOGNIZER)
    cfg = Config.fromfile(str(config))
    init_default_scope('mmaction')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), str(checkpoint))
    return config, checkpoint


def test_mmdet_and_mmaction_alone_give_the_same_predictions(
    trained, epoch_1, tool, tmp_path, capsys
):
    generator = torch.Generator().manual_seed(0)
    jobs = [
        (trained.config, epoch_1, torch.rand((2, 3, 64, 64), generator=generator)),
        (*recognizer(tmp_path), torch.rand((2, 1, 3, 4, 8, 8), generator=generator)),
    ]
    arguments = []
    for index, (config, checkpoint, image) in enumerate(jobs):
        plain, given = tmp_path / f'plain_{index}.pth', tmp_path / f'image_{index}.pth'
        torch.save(image, str(given))
        assert tool.main([str(config), str(checkpoint), str(plain)]) == 0
        out = tmp_path / f'out_{index}.pth'
        arguments += [str(p) for p in (plain.with_suffix('.py'), plain, given, out)]
    said = capsys.readouterr().out
    assert 'model.backbone: Dr2SwinTransformer became SwinTransformer' in said
    assert 'largest difference of backbone' in said
    child = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', CHILD, *arguments],
        capture_output=True,
        text=True,
        cwd=str(tmp_path),
    )
    assert child.returncode == 0, child.stderr
    built = {'mmdet.models.backbones.swin', 'mmaction.models.backbones.vit_mae'}
    assert built <= set(child.stdout.split())
    for index, (config, checkpoint, image) in enumerate(jobs):
        expected = flat(outputs_of(config, checkpoint, image))
        found = flat(torch.load(str(tmp_path / f'out_{index}.pth')))
        assert len(found) == len(expected)
        for ours, theirs in zip(expected, found):
            # Streams of exact arithmetic are rounded to 2**-16.
            assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_exported_config_is_tested_by_the_test_tool(
    trained, epoch_1, tool, tmp_path
):
    plain = tmp_path / 'plain.pth'
    assert tool.main([str(trained.config), str(epoch_1), str(plain)]) == 0
    config = tmp_path / 'plain.py'
    assert 'dr2' not in config.read_text().lower().replace(str(tmp_path), '')
    options = ['--work-dir', str(tmp_path / 'work'), '--cfg-options']
    options.append('experiment_name=exported')
    assert load_script('test.py').main([str(config), str(plain), *options]) == 0


def test_files_are_replaced_only_by_force(trained, epoch_1, tool, tmp_path, error_line):
    target, config = tmp_path / 'plain.pth', tmp_path / 'mine.py'
    config.write_text('mine')
    arguments = [str(trained.config), str(epoch_1), str(target)]
    arguments += ['--config-target', str(config)]
    assert tool.main(arguments) == 2
    assert '--force' in error_line()
    assert config.read_text() == 'mine' and not target.exists()
    assert tool.main([*arguments, '--force', '--backbone-only']) == 0
    assert list(Config.fromfile(str(config)).model) == ['backbone']


@pytest.mark.parametrize('pair', [(0.4, 0.6), (1.0, 0.1)])
def test_other_coefficients_are_refused_and_nothing_is_written(
    pair, trained, epoch_1, tool, tmp_path, error_line
):
    content = torch.load(str(epoch_1), weights_only=True)
    for name, value in zip(('alpha', 'beta'), pair):
        content['state_dict'][f'backbone.dual_residual.{name}'].fill_(value)
    source = tmp_path / 'other.pth'
    torch.save(content, str(source))
    assert tool.main([str(trained.config), str(source), str(tmp_path / 'p.pth')]) == 2
    line = error_line()
    assert str(pair) in line and 'Dr2CoefficientHook' in line
    assert [path.name for path in tmp_path.iterdir()] == ['other.pth']


class OpensFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return io.open, (self.path, 'w')


def test_a_checkpoint_that_names_code_is_refused(trained, tool, tmp_path, error_line):
    source, harm = tmp_path / 'malicious.pth', tmp_path / 'harm'
    torch.save(dict(state_dict={}, extra=OpensFile(str(harm))), str(source))
    assert tool.main([str(trained.config), str(source), str(tmp_path / 'p.pth')]) == 2
    assert 'not loaded unasked' in error_line()
    assert not harm.exists()


def test_a_config_without_a_model_is_refused(epoch_1, tool, tmp_path, error_line):
    config = tmp_path / 'empty.py'
    config.write_text('a = 1\n')
    assert tool.main([str(config), str(epoch_1), str(tmp_path / 'p.pth')]) == 2
    assert 'has no model' in error_line()


def test_the_help_shows_the_hook_that_ends_there(tool):
    text = tool.build_parser().format_help()
    assert 'end=(1.0, 0.0)' in text and 'monotone=False' in text
