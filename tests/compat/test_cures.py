"""Cures for the MM stack's breakages."""

import importlib
import pickle
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from dr2net_mm import compat
from dr2net_mm.checkpoints.pickle_allowlist import history_buffer_method
from dr2net_mm.compat import importlib_metadata, mmaction_drn

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter with the repository and ``path`` importable."""
    folders = [*map(str, path), str(ROOT)]
    code = f'import sys; sys.path[:0] = {folders!r}\n{code}'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_the_engine_is_importable_with_torch_only():
    blocked = ['mmengine', 'mmcv', 'mmdet', 'mmaction']
    code = f"""
import importlib.abc
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}:
            raise ModuleNotFoundError(name)
import importlib.util as util
real = util.find_spec
util.find_spec = lambda name, *a: None if name in {blocked} else real(name, *a)
sys.meta_path.insert(0, Blocked())
import dr2net_mm.reversible
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('absent', ['mmdet', 'mmaction'])
def test_the_package_is_importable_with_one_of_mmdet_and_mmaction(tmp_path, absent):
    # A module that fails like a real one beside an MMCV it does not support.
    (tmp_path / absent).mkdir()
    (tmp_path / absent / '__init__.py').write_text(
        'assert False, "MMCV==9.9 is used but incompatible"'
    )
    code = 'import dr2net_mm\nfrom mmengine.registry import HOOKS, MODELS\n'
    code += 'assert HOOKS.get("Dr2CoefficientHook")\n'
    if absent == 'mmaction':
        code += 'from dr2net_mm.backbones import Dr2SwinTransformer\n'
        code += 'assert MODELS.get("Dr2SwinTransformer") is Dr2SwinTransformer\n'
    else:
        code += 'try: MODELS.build(dict(type="Dr2SwinTransformer"))\n'
        code += 'except ImportError as error: assert "MMCV==9.9" in str(error)\n'
        code += 'else: assert False, "mmdet was imported"\n'
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_mmaction_models_are_importable_and_drn_says_why_it_is_not_there():
    localizers = pytest.importorskip('mmaction.models.localizers')
    if localizers.DRN is not compat.MissingDRN:
        pytest.skip('this mmaction carries DRN')
    with pytest.raises(ImportError, match='mmaction2#2714'):
        localizers.DRN()


def test_the_drn_cure_leaves_an_mmaction_that_has_it_alone(tmp_path, monkeypatch):
    package = tmp_path / 'mmaction'
    (package / 'models' / 'localizers' / 'drn').mkdir(parents=True)
    monkeypatch.setattr(mmaction_drn, 'module_folder', lambda name: package)
    monkeypatch.delitem(sys.modules, 'mmaction.models.localizers.drn', raising=False)
    assert not compat.provide_missing_drn()


def test_importlib_metadata_is_provided_where_it_is_absent(monkeypatch):
    monkeypatch.delitem(sys.modules, 'importlib_metadata', raising=False)
    monkeypatch.setattr(importlib_metadata, 'find_spec', lambda name: None)
    monkeypatch.setattr(importlib_metadata, 'module_folder', lambda name: ROOT)
    assert compat.provide_importlib_metadata()
    module = importlib.import_module('importlib_metadata')
    assert module.distribution('torch') and module.PackageNotFoundError
    del sys.modules['importlib_metadata']


def test_message_hubs_survive_torch_load_with_weights_only(tmp_path):
    hub = MessageHub.get_instance('compat_test')
    for value in (0.5, np.float32(1.5), torch.tensor(2.5), 3):
        hub.update_scalar('loss', value)
    hub.update_info('best_score', np.float64(0.25))
    path = tmp_path / 'hub.pth'
    torch.save(dict(message_hub=hub.state_dict()), str(path))
    loaded = torch.load(str(path), weights_only=True)['message_hub']
    assert loaded['log_scalars']['loss'].data[0].tolist() == [0.5, 1.5, 2.5, 3]
    assert loaded['log_scalars']['loss'].statistics('max') == 3
    assert loaded['runtime_info']['best_score'] == 0.25


@pytest.mark.skipif(
    not hasattr(torch.serialization, 'add_safe_globals'), reason='torch before 2.4'
)
def test_other_classes_stay_refused_by_weights_only(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(value=types.SimpleNamespace(a=1)), str(path))
    with pytest.raises(pickle.UnpicklingError, match='SimpleNamespace'):
        torch.load(str(path), weights_only=True)


def test_getattr_in_a_checkpoint_reaches_statistics_methods_only():
    assert history_buffer_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in [(HistoryBuffer, '__init__'), (torch, 'load'), (dict, 'mean')]:
        with pytest.raises(pickle.UnpicklingError):
            history_buffer_method(owner, name)


TORCHVISION_SCRIPT = """
import pathlib, sys, torch, types
package = types.ModuleType('dr2net_mm')  # Without its __init__, which cures.
package.__path__ = [str(pathlib.Path(sys.argv[1]).parent.parent)]
sys.modules['dr2net_mm'] = package
from dr2net_mm.compat import torchvision_operators as cure
folder = pathlib.Path(sys.argv[2])
cure.module_folder = lambda name: folder
declare = cure.define_missing_torchvision_operators
assert not declare()
(folder / '_C.so').write_bytes(b'not a library')
assert declare()
assert torch.ops.torchvision.nms.default is not None
assert not declare()
"""


def test_torchvision_operators_are_declared_once_and_only_if_its_library_fails(
    tmp_path,
):
    # In a process of its own: operators cannot be taken back.
    command = [sys.executable, '-c', TORCHVISION_SCRIPT, compat.__file__]
    result = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_cure_names_its_upstream_reference_or_versions():
    for name in compat.apply():
        assert re.search(r'#\d+|\d+\.\d+|torchvision::|CheckpointHook',
                         getattr(compat, name).__doc__)  # fmt: skip


def test_vindlu_is_left_out_only_beside_a_transformers_that_it_cannot_import(
    monkeypatch, tmp_path
):
    from dr2net_mm.compat import mmaction_beside_transformers as cure

    name = 'mmaction.models.multimodal.vindlu'
    monkeypatch.delitem(sys.modules, name, raising=False)
    folders = dict(mmaction=tmp_path, transformers=tmp_path)
    monkeypatch.setattr(cure, 'module_folder', folders.get)
    assert not cure.leave_out_vindlu()
    source = tmp_path / 'modeling_utils.py'
    source.write_text('from .pytorch_utils import apply_chunking_to_forward')
    assert not cure.leave_out_vindlu() and name not in sys.modules
    source.write_text('class PreTrainedModel: ...')
    assert cure.leave_out_vindlu()
    assert sys.modules[name].__all__ == []
    with pytest.raises(ImportError, match="pip install 'transformers"):
        cure.MODELS.build(dict(type='VindLUVQA'))
    folders['transformers'] = None
    monkeypatch.delitem(sys.modules, name)
    assert not cure.leave_out_vindlu()
