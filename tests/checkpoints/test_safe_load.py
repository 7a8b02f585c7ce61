"""Checkpoints that name code are refused, and those of MMEngine are loaded."""

import argparse
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from dr2net_mm.checkpoints import safe_load

LOADERS = [safe_load.load, safe_load.load_restricted]


class CreatesFile:
    """What a crafted checkpoint may hold: loading it creates a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return io.open, (self.path, 'w')


@pytest.fixture
def malicious(tmp_path):
    path = tmp_path / 'malicious.pth'
    content = dict(state_dict=dict(weight=torch.ones(2)), extra=CreatesFile(path))
    content['extra'].path = str(tmp_path / 'harm')
    torch.save(content, str(path))
    return path


@pytest.fixture
def harm(tmp_path):
    return tmp_path / 'harm'


def epoch_checkpoint():
    """Everything that MMEngine stores, of a network with a buffer of its own."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    buffer = HistoryBuffer([0.5, 1.5], [1, 1])
    return dict(
        meta=dict(epoch=1, dataset_meta=dict(classes=('a', 'b')), seed=np.int64(3)),
        state_dict=model.state_dict(),
        message_hub=dict(log_scalars=dict(loss=buffer), best=np.float64(0.25)),
        optimizer=optimizer.state_dict(),
        param_schedulers=[dict(last_step=3, base_values=[0.1])],
        half=torch.ones(2, dtype=torch.bfloat16),
        alpha=torch.tensor(0.4, dtype=torch.float64),
        parameter=torch.nn.Parameter(torch.ones(1)),
    )


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('zipped', [True, False])
def test_what_mmengine_stores_is_loaded_to_the_same_values(load, zipped, tmp_path):
    path, saved = tmp_path / 'epoch_1.pth', epoch_checkpoint()
    torch.save(saved, str(path), _use_new_zipfile_serialization=zipped)
    loaded = load(str(path))
    assert loaded['meta'] == saved['meta']
    for name, value in saved['state_dict'].items():
        assert torch.equal(loaded['state_dict'][name], value)
    assert loaded['state_dict']._metadata == saved['state_dict']._metadata
    assert loaded['message_hub']['log_scalars']['loss'].mean() == 1.0
    assert loaded['message_hub']['best'] == 0.25
    state = loaded['optimizer']['state'][0]['exp_avg']
    assert torch.equal(state, saved['optimizer']['state'][0]['exp_avg'])
    assert loaded['half'].dtype == torch.bfloat16 and float(loaded['alpha']) == 0.4
    assert isinstance(loaded['parameter'], torch.nn.Parameter)


def test_loading_leaves_the_classes_allowed_that_were_so_before(tmp_path):
    path = tmp_path / 'epoch.pth'
    torch.save(epoch_checkpoint(), str(path))
    for load in (safe_load.load, torch.load):
        assert load(str(path))['message_hub']['best'] == 0.25


@pytest.mark.parametrize('load', LOADERS)
def test_an_open_file_is_loaded_too(load, tmp_path):
    buffer = io.BytesIO()
    torch.save(epoch_checkpoint(), buffer)
    buffer.seek(0)
    assert load(buffer)['meta']['epoch'] == 1


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('zipped', [True, False])
def test_a_checkpoint_that_names_a_function_is_refused_before_it_runs(
    load, zipped, malicious, harm
):
    if not zipped:
        content = dict(extra=CreatesFile(harm))
        torch.save(content, str(malicious), _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError, match=r'io\.open'):
        load(str(malicious))
    assert not harm.exists()


@pytest.mark.parametrize('load', LOADERS)
def test_a_class_is_let_through_if_it_is_asked_for(load, tmp_path):
    path = tmp_path / 'arguments.pth'
    torch.save(dict(args=argparse.Namespace(epochs=3)), str(path))
    with pytest.raises(pickle.UnpicklingError, match='Namespace'):
        load(str(path))
    loaded = load(str(path), more_classes=[argparse.Namespace])
    assert loaded['args'].epochs == 3


def test_getattr_reaches_statistics_only_before_torch_2_6(tmp_path):
    class Reaches:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    path = tmp_path / 'getattr.pth'
    torch.save(dict(value=Reaches()), str(path))
    with pytest.raises(pickle.UnpicklingError, match='__init__'):
        safe_load.load_restricted(str(path))


def test_functions_keep_their_attributes_before_torch_2_6(tmp_path):
    # A global, then a state for it, as pickle's BUILD sets it.
    content = (
        b'\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00harmK\x01sb.'
    )
    allowed = safe_load._allowed_globals(())
    unpickler = safe_load._restricted_unpickler(allowed)(io.BytesIO(content))
    with pytest.raises(pickle.UnpicklingError, match='state of'):
        unpickler.load()
    assert not hasattr(torch._utils._rebuild_tensor_v2, 'harm')


@pytest.mark.parametrize('load', LOADERS)
def test_torchscript_is_refused(load, tmp_path):
    path = tmp_path / 'scripted.pt'
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(path))
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match='TorchScript'):
        load(str(path))


def test_mmengine_refuses_with_the_file_and_the_remedy(malicious, harm):
    with pytest.raises(safe_load.UnsafeCheckpointError) as error:
        load_checkpoint(torch.nn.Linear(2, 1), str(malicious))
    message = str(error.value)
    assert str(malicious) in message and 'io.open' in message
    assert safe_load.TRUST_VARIABLE in message
    assert not harm.exists()


def test_mmengine_refuses_a_downloaded_checkpoint_too(
    malicious, harm, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    fetched = []

    def download(url, path, progress):
        fetched.append(url)
        Path(path).write_bytes(malicious.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    url = 'https://example.com/models/malicious.pth?version=2'
    for _ in range(2):
        with pytest.raises(safe_load.UnsafeCheckpointError, match='example.com'):
            CheckpointLoader.load_checkpoint(url)
    assert fetched == [url] and not harm.exists()


def test_a_downloaded_checkpoint_of_weights_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda url, path, progress: torch.save(epoch_checkpoint(), path),
    )
    loaded = CheckpointLoader.load_checkpoint('https://example.com/epoch_1.pth')
    assert loaded['meta']['epoch'] == 1


def test_mmengines_other_loaders_see_a_torch_that_refuses_before_2_6(malicious, harm):
    refusing = safe_load._TorchThatRefuses('torch')
    assert refusing.distributed is torch.distributed
    assert refusing.load is safe_load.load
    with pytest.raises(pickle.UnpicklingError):
        refusing.load(str(malicious), map_location='cpu')
    assert not harm.exists()


def test_the_variable_lifts_the_refusal(malicious, harm, monkeypatch):
    monkeypatch.setenv(safe_load.TRUST_VARIABLE, '1')
    loaded = CheckpointLoader.load_checkpoint(str(malicious))
    loaded['extra'].close()
    assert harm.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'absent.pth'))
