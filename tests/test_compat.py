"""Cures for the MM stack's breakages and the check of versions at import."""

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

import dr2net_mm
from dr2net_mm import compat, version
from dr2net_mm.checkpoints.pickle_allowlist import history_buffer_method
from dr2net_mm.compat import (
    importlib_metadata,
    mmaction_drn,
    numpy_names,
    versions,
)

ROOT = Path(__file__).resolve().parent.parent


def requirement_lines(name: str) -> set:
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith('#')}


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter with the repository and ``path`` importable."""
    folders = [*map(str, path), str(ROOT)]
    code = f'import sys; sys.path[:0] = {folders!r}\n{code}'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_requirement_files_repeat_the_ranges_of_the_version_module():
    core, mm = version.CORE_REQUIREMENTS, version.MM_REQUIREMENTS
    undeclared = version.UNDECLARED_REQUIREMENTS
    assert requirement_lines('mminstall.txt') == {
        ''.join(mm['mmcv']),
        ''.join(core['mmengine']),
    }
    assert requirement_lines('optional.txt') == {
        ''.join(mm['mmdet']),
        ''.join(mm['mmaction']),
    }
    assert requirement_lines('runtime.txt') == {
        ''.join(entry) for entry in [core['torch'], core['numpy'], *undeclared.values()]
    }


@pytest.mark.parametrize('name', ['constraints.txt', 'constraints_gpu.txt'])
def test_pinned_versions_lie_inside_the_supported_ranges(name):
    from packaging.specifiers import SpecifierSet

    pins = dict(line.split('==') for line in requirement_lines(name))
    tables = (version.CORE_REQUIREMENTS, version.MM_REQUIREMENTS)
    for distribution, supported in [e for t in tables for e in t.values()]:
        assert pins[distribution] in SpecifierSet(supported)


def test_this_environment_is_supported():
    assert compat.version_problems() == []
    assert dr2net_mm.__version__ == version.__version__


def test_versions_outside_the_range_are_all_named_with_a_remedy(monkeypatch):
    monkeypatch.setattr(versions, 'fork_installed', lambda: False)
    found = dict(torch='1.13.1+cu117', numpy='2.1.0', mmengine='0.10.7', mmcv='2.2.0')
    monkeypatch.setattr(versions, 'installed_version', lambda name, _: found.get(name))
    with pytest.raises(ImportError) as error:
        compat.check_versions()
    message = str(error.value)
    assert 'torch 1.13.1+cu117 is outside >=2.1' in message
    assert "pip install 'numpy>=1.20,<2'" in message
    assert "mim install 'mmcv>=2.0.0,<2.2.0'" in message
    assert 'mmengine' not in message


def test_versions_of_openmmlabs_own_wheels_are_supported(monkeypatch):
    monkeypatch.setattr(versions, 'fork_installed', lambda: False)
    found = dict(
        torch='2.1.2+cu121', numpy='1.24.4', mmengine='0.10.7', mmcv='2.1.0',
        mmdet='3.3.0', mmaction='1.2.0',
    )  # fmt: skip
    monkeypatch.setattr(versions, 'installed_version', lambda name, _: found[name])
    assert compat.version_problems() == []


def test_onedl_is_held_to_its_own_distributions_and_ranges(monkeypatch):
    found = dict(
        torch='2.13.0', numpy='2.2.6', mmengine='0.10.12', mmcv='2.3.6',
        mmdet='3.5.1', mmaction='1.2.0',
    )  # fmt: skip
    monkeypatch.setattr(versions, 'installed_version', lambda name, _: found[name])
    monkeypatch.setattr(versions, 'fork_installed', lambda: True)
    assert versions.version_problems() == []
    found['mmcv'] = '2.1.0'
    assert versions.version_problems() == [
        "onedl-mmcv 2.1.0 is outside >=2.3.6,<2.4: pip install 'onedl-mmcv>=2.3.6,<2.4'"
    ]


def test_mmaction_is_importable_beside_mmcv_2_3_and_no_other_refused_one(tmp_path):
    for name, text in [
        ('mmcv', '__version__ = "{}"'),
        ('mmaction', 'import mmcv\nassert mmcv.__version__ < "2.2", "incompatible"'),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(text.format('2.3.6'))
    (tmp_path / 'mmaction' / 'version.py').write_text('__version__ = "1.2.0"')
    (tmp_path / 'mmcv' / 'version.py').write_text('__version__ = "2.3.6"')
    code = (
        'from dr2net_mm.compat.mmaction_beside_fork import let_mmaction_accept_fork\n'
        'assert let_mmaction_accept_fork() is {}\nimport mmaction, mmcv\n'
        'assert mmcv.__version__ == "2.3.6"'
    )
    environment = "import os; os.environ['DR2NET_IGNORE_VERSIONS'] = '1'\n"
    done = run_python(environment + code.format(True), tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / 'mmcv' / 'version.py').write_text('__version__ = "2.2.0"')
    done = run_python(environment + code.format(False), tmp_path)
    assert 'AssertionError: incompatible' in done.stderr


def test_names_that_numpy_removed_are_provided_where_mmaction_is(monkeypatch):
    first, second = np.array([[1, 2], [3, 4]]), np.array([2, 4])
    monkeypatch.setattr(np, 'in1d', None, raising=False)
    monkeypatch.delattr(np, 'in1d')
    monkeypatch.setattr(numpy_names, 'module_folder', lambda name: ROOT)
    assert numpy_names.provide_removed_numpy_names()
    assert np.in1d(first, second).tolist() == [False, True, False, True]
    assert not numpy_names.provide_removed_numpy_names()


def test_a_missing_pkg_resources_names_the_setuptools_to_install(monkeypatch):
    real = versions.module_folder
    monkeypatch.setattr(
        versions,
        'module_folder',
        lambda name: None if name == 'pkg_resources' else real(name),
    )
    assert compat.version_problems() == [
        'MMEngine imports pkg_resources, which is not installed: '
        "pip install 'setuptools<81'"
    ]


def test_the_version_check_can_be_turned_into_a_warning(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', lambda *_: '0.0.1')
    monkeypatch.setenv(compat.IGNORE_VERSIONS_VARIABLE, '1')
    with pytest.warns(UserWarning, match='torch 0.0.1'):
        compat.check_versions()


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
