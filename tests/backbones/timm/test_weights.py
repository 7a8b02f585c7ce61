"""Checkpoints of timm's models, and what is said about them."""

import logging
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Dict

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from dr2net_mm.backbones import ConventionalTimmBackbone, Dr2TimmBackbone
from dr2net_mm.backbones.base.pretrained import inflated

SMALL = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
NAME = 'vit_small_patch16_224'


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves the files of a folder and says nothing."""

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def weights() -> Dict[str, Tensor]:
    """timm's own state dict, head included."""
    torch.manual_seed(0)
    return timm.create_model(NAME, num_classes=10, **SMALL).state_dict()


def assert_loaded(model: Dr2TimmBackbone, weights: Dict[str, Tensor]) -> None:
    own = {k: v for k, v in model.state_dict().items() if 'dual' not in k}
    assert own and all(torch.equal(value, weights[name]) for name, value in own.items())


def test_pth_and_safetensors_are_loaded(tmp_path, weights) -> None:
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    save_file(weights, str(tmp_path / 'weights.safetensors'))
    for name in ('weights.pth', 'weights.safetensors'):
        model = Dr2TimmBackbone(NAME, pretrained=str(tmp_path / name), **SMALL)
        assert_loaded(model, weights)


def test_what_is_left_of_a_checkpoint_is_said(tmp_path, weights, monkeypatch) -> None:
    lines = []
    monkeypatch.setattr(
        'dr2net_mm.backbones.timm.weights.print_log',
        lambda message, *args, level=logging.INFO: lines.append((level, message)),
    )
    path = str(tmp_path / 'weights.pth')
    torch.save(dict(weights, strange=torch.ones(1)), path)
    Dr2TimmBackbone(NAME, pretrained=path, **SMALL)
    ((level, message),) = lines
    assert level == logging.WARNING
    assert 'left 2 that the features do not use (head.weight, head.bias)' in message
    assert '1 are unknown to the model (strange)' in message


def test_position_embeddings_are_resized_by_timms_filter(tmp_path, weights) -> None:
    path = str(tmp_path / 'weights.pth')
    torch.save(weights, path)
    model = Dr2TimmBackbone(NAME, pretrained=path, **dict(SMALL, img_size=64))
    assert model.pos_embed.shape == (1, 65, 32)
    assert torch.equal(
        model.blocks[1].mlp.fc2.weight, weights['blocks.1.mlp.fc2.weight']
    )


def test_layer_scales_of_the_authors_of_deit3_are_renamed(tmp_path) -> None:
    name, small = 'deit3_small_patch16_224', SMALL
    weights = timm.create_model(name, num_classes=0, **small).state_dict()
    theirs = {
        key.replace('ls1.gamma', 'gamma_1').replace('ls2.gamma', 'gamma_2'): value + 1
        for key, value in weights.items()
    }
    assert 'blocks.0.gamma_1' in theirs
    path = str(tmp_path / 'weights.pth')
    torch.save(dict(model=theirs), path)
    model = Dr2TimmBackbone(name, pretrained=path, **small)
    assert torch.equal(model.blocks[0].ls1.gamma, theirs['blocks.0.gamma_1'])


def test_init_cfg_loads_when_weights_are_initialized(tmp_path, weights) -> None:
    path = str(tmp_path / 'weights.pth')
    torch.save(weights, path)
    cfg = dict(type='Pretrained', checkpoint=path)
    model = Dr2TimmBackbone(NAME, init_cfg=cfg, **SMALL)
    model.init_weights()
    assert_loaded(model, weights)


def test_pretrained_weights_survive_init_weights(tmp_path, weights) -> None:
    path = str(tmp_path / 'weights.pth')
    torch.save(weights, path)
    model = Dr2TimmBackbone(NAME, pretrained=path, **SMALL)
    model.init_weights()
    assert_loaded(model, weights)


def test_the_checkpoint_of_a_detector_with_this_backbone_is_loaded(tmp_path) -> None:
    trained = Dr2TimmBackbone(NAME, dual_residual=dict(alpha=0.3, beta=0.7), **SMALL)
    state = {f'backbone.{k}': v for k, v in trained.state_dict().items()}
    path = str(tmp_path / 'detector.pth')
    torch.save(dict(state_dict=dict(state, neck=torch.ones(1))), path)
    model = Dr2TimmBackbone(NAME, pretrained=path, **SMALL)
    assert_loaded(model, trained.state_dict())
    assert (model.alpha, model.beta) == (0.3, 0.7)


def test_weights_of_another_model_are_refused_with_numbers(tmp_path, weights) -> None:
    path = str(tmp_path / 'weights.pth')
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r'is not of this model: \d+ of 42 tensors'):
        Dr2TimmBackbone(NAME, pretrained=path, **dict(SMALL, depth=3))
    with pytest.raises(ValueError, match=r' 0 of \d+ tensors fit, \d+ are missing'):
        Dr2TimmBackbone('convnext_atto', pretrained=path)


@pytest.mark.parametrize('made', [Dr2TimmBackbone, ConventionalTimmBackbone])
def test_the_first_layer_is_inflated_if_asked(made, tmp_path, weights) -> None:
    path, name = str(tmp_path / 'weights.pth'), 'patch_embed.proj.weight'
    torch.save(weights, path)
    with pytest.raises(ValueError, match='inflate_input=True'):
        made(NAME, pretrained=path, in_chans=4, **SMALL)
    model = made(NAME, pretrained=path, in_chans=4, inflate_input=True, **SMALL)
    assert torch.equal(model.state_dict()[name], inflated(weights[name], 4))


def test_a_damaged_file_is_one_line(tmp_path) -> None:
    for name in ('weights.pth', 'weights.safetensors'):
        path = tmp_path / name
        path.write_bytes(b'PK damaged')
        with pytest.raises(
            ValueError, match=r'cannot be read as a checkpoint'
        ) as error:
            Dr2TimmBackbone(NAME, pretrained=str(path), **SMALL)
        assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_a_checkpoint_from_an_address_is_loaded(tmp_path, weights, monkeypatch) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    (tmp_path / 'served').mkdir()
    torch.save(weights, tmp_path / 'served' / 'weights.pth')
    handler = partial(QuietHandler, directory=str(tmp_path / 'served'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        model = Dr2TimmBackbone(NAME, pretrained=f'{address}/weights.pth', **SMALL)
        with pytest.raises(ValueError, match='none.pth cannot be had .*404'):
            Dr2TimmBackbone(NAME, pretrained=f'{address}/none.pth', **SMALL)
        server.shutdown()
    assert_loaded(model, weights)


def test_true_takes_timms_weights_from_the_hub(tmp_path, monkeypatch) -> None:
    own = timm.create_model(NAME, num_classes=1000, **SMALL).state_dict()
    path = str(tmp_path / 'model.safetensors')
    save_file(own, path)
    asked = []

    def download(repo_id: str, filename: str, **options) -> str:
        asked.append(repo_id)
        return path

    monkeypatch.setattr('timm.models._hub.hf_hub_download', download)
    for cls in (Dr2TimmBackbone, ConventionalTimmBackbone):
        assert_loaded(cls(NAME, pretrained=True, **SMALL), own)
    assert asked and all(name.startswith(f'timm/{NAME}') for name in asked)


def test_weights_that_cannot_be_had_are_one_line(monkeypatch) -> None:
    def download(*args, **options) -> str:
        raise OSError('no route to host')

    monkeypatch.setattr('timm.models._hub.hf_hub_download', download)
    with pytest.raises(ValueError, match=f'cannot get the weights of {NAME} .no route'):
        Dr2TimmBackbone(NAME, pretrained=True, **SMALL)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="pretrained='none.pth' is no file"):
        Dr2TimmBackbone(NAME, pretrained='none.pth', **SMALL)


def test_an_unknown_initialization_is_refused() -> None:
    model = Dr2TimmBackbone(NAME, init_cfg=dict(type='Kaiming'), **SMALL)
    with pytest.raises(ValueError, match=r"takes init_cfg=dict\(type='Pretrained'"):
        model.init_weights()
