"""What goes into a checkpoint of ``Dr2SwinTransformer``, and what comes out of one."""

import copy
import io
import logging
import pickle

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import load_state_dict

from dr2net_mm.backbones import Dr2SwinTransformer

COEFFICIENTS = {'dual_residual.alpha', 'dual_residual.beta'}


@pytest.fixture
def messages(caplog):
    """A logger for load_checkpoint, and what it was told."""
    logger = logging.getLogger('test_swin_state_dict')
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield logger, caplog


def original_repository_checkpoint(model):
    """Weights of a backbone, under the names and in the order of Microsoft's Swin.

    Its patch merging concatenates the four neighbors neighbor by neighbor, in the
    order (0, 0), (1, 0), (0, 1), (1, 1); mmdet's unfold goes channel by channel and
    in the order of rows.
    """
    renamed = {'head.weight': torch.zeros(10, 128), 'head.bias': torch.zeros(10)}
    for name, value in model.state_dict().items():
        if name.startswith(('dual_residual', 'norm')):
            continue
        if '.downsample.' in name:
            *out, features = value.shape
            value = value.view(*out, features // 4, 2, 2).permute(
                *range(len(out)), -1, -2, -3
            )
            value = value.reshape(*out, features)
        for ours, theirs in (
            ('stages.', 'layers.'),
            ('attn.w_msa.', 'attn.'),
            ('ffn.layers.0.0.', 'mlp.fc1.'),
            ('ffn.layers.1.', 'mlp.fc2.'),
            ('patch_embed.projection.', 'patch_embed.proj.'),
        ):
            name = name.replace(ours, theirs)
        renamed[name] = value.clone()
    return {'model': renamed}


def assert_same_weights(model, other, but=()):
    state, wanted = model.state_dict(), other.state_dict()
    for name in wanted.keys() - COEFFICIENTS:
        if not name.startswith(tuple(but) or '-'):
            assert torch.equal(state[name], wanted[name]), name


def from_file(swin, path, **arguments):
    """A backbone whose init_cfg names a file, built and initialized by MMEngine."""
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    config = swin.arguments(type='Dr2SwinTransformer', init_cfg=init_cfg, **arguments)
    model = MODELS.build(ConfigDict(config))
    model.init_weights()
    return model


def test_keys_are_mmdets_and_the_two_coefficients(swin):
    for arguments in ({}, dict(use_abs_pos_embed=True, out_indices=(1, 3))):
        keys = list(swin.build(**arguments).state_dict())
        parents = list(swin.plain(**arguments).state_dict())
        assert keys == [*parents, 'dual_residual.alpha', 'dual_residual.beta']


def test_coefficients_are_no_parameters_and_no_buffers(swin):
    model, plain = swin.build(), swin.plain()
    assert (
        dict(model.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    )
    assert dict(model.named_buffers()).keys() == dict(plain.named_buffers()).keys()
    assert type(model.alpha) is float and type(model.beta) is float


def test_a_plain_swin_loads_strictly(swin):
    model, plain = swin.build(seed=1), swin.plain()
    result = model.load_state_dict(plain.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert_same_weights(model, plain)
    assert (model.alpha, model.beta) == (1.0, 0.1)


def test_a_plain_swin_loads_through_mmengine_without_a_word(swin, tmp_path, messages):
    plain = swin.plain()
    torch.save({'state_dict': plain.state_dict()}, tmp_path / 'plain.pth')
    logger, log = messages
    model = swin.build(seed=1)
    load_checkpoint(model, str(tmp_path / 'plain.pth'), strict=True, logger=logger)
    assert_same_weights(model, plain)
    assert 'do not match' not in log.text


def test_a_missing_weight_is_still_reported(swin):
    state = swin.plain().state_dict()
    state['norm9.weight'] = state.pop('norm3.weight')
    with pytest.raises(RuntimeError, match='norm3.weight') as error:
        swin.build().load_state_dict(state)
    assert 'norm9.weight' in str(error.value)
    assert 'dual_residual' not in str(error.value)


def test_an_unknown_key_beside_the_coefficients_is_reported(swin):
    state = swin.build().state_dict()
    state['dual_residual.gamma'] = torch.tensor(1.0)
    with pytest.raises(RuntimeError, match='Unexpected.*dual_residual.gamma'):
        swin.build().load_state_dict(state)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16])
def test_coefficients_come_back_from_a_file(swin, tmp_path, dtype):
    model = swin.build()
    model.set_coefficients(0.85, 0.25)
    state = {
        name: value.to(dtype) if name in COEFFICIENTS else value
        for name, value in model.state_dict().items()
    }
    torch.save({'state_dict': state}, tmp_path / 'trained.pth')
    loaded = swin.build(seed=1)
    load_checkpoint(loaded, str(tmp_path / 'trained.pth'), strict=True)
    exact = dtype == torch.float64
    assert loaded.alpha == pytest.approx(0.85, rel=0 if exact else 1e-3)
    assert loaded.beta == pytest.approx(0.25)
    if exact:
        image = swin.image(32, 32)
        with torch.no_grad():
            for found, wanted in zip(loaded(image), model(image)):
                assert torch.equal(found, wanted)


def test_a_checkpoint_with_one_coefficient_leaves_the_other(swin):
    model = swin.build()
    state = {**swin.plain().state_dict(), 'dual_residual.beta': torch.tensor(0.5)}
    model.load_state_dict(state, strict=True)
    assert (model.alpha, model.beta) == (1.0, 0.5)


@pytest.mark.parametrize(
    'value, message',
    [
        (torch.tensor(1.5), r'alpha .*\[0, 1\], got 1\.5'),
        (torch.tensor(float('nan')), r'alpha .*\[0, 1\], got nan'),
        (torch.ones(3), r'alpha of shape \(3,\)'),
    ],
)
@pytest.mark.parametrize('load', [load_state_dict, torch.nn.Module.load_state_dict])
def test_a_bad_coefficient_in_a_checkpoint_is_an_error_however_it_is_loaded(
    swin, value, message, load
):
    detector = torch.nn.ModuleDict({'backbone': swin.build()})
    state = {**detector.state_dict(), 'backbone.dual_residual.alpha': value}
    with pytest.raises(
        ValueError, match=f'checkpoint.*backbone.dual_residual.*{message}'
    ):
        load(detector, state, strict=False)
    assert detector['backbone'].alpha == 1.0


@pytest.mark.parametrize('key', ['state_dict', 'model'])
def test_init_cfg_loads_the_backbone_of_a_detector(swin, tmp_path, key):
    plain = swin.plain()
    state = {f'backbone.{name}': value for name, value in plain.state_dict().items()}
    state['neck.weight'] = torch.zeros(1)
    torch.save({key: state}, tmp_path / 'detector.pth')
    model = from_file(swin, tmp_path / 'detector.pth')
    assert_same_weights(model, plain)
    assert (model.alpha, model.beta) == (1.0, 0.1)


def test_init_cfg_takes_the_coefficients_that_a_detector_was_trained_to(swin, tmp_path):
    trained = swin.build(dual_residual=dict(alpha=0.3, beta=0.7))
    state = {f'backbone.{name}': v for name, v in trained.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'detector.pth')
    model = from_file(swin, tmp_path / 'detector.pth')
    assert_same_weights(model, trained)
    assert (model.alpha, model.beta) == (0.3, 0.7)


def test_init_cfg_converts_weights_of_the_original_repository(swin, tmp_path):
    source = swin.plain()
    torch.save(original_repository_checkpoint(source), tmp_path / 'original.pth')
    model = from_file(swin, tmp_path / 'original.pth', convert_weights=True)
    # The norms of the feature maps are not part of a classifier.
    assert_same_weights(model, source, but=('norm',))
    assert torch.equal(model.norm0.weight, torch.ones(16))


def test_bias_tables_are_resized_to_other_windows(swin, tmp_path):
    checkpoint = original_repository_checkpoint(swin.plain(window_size=7))
    # mmdet resizes the tables but not the indices into them.
    checkpoint['model'] = {
        name: value
        for name, value in checkpoint['model'].items()
        if 'relative_position_index' not in name
    }
    torch.save(checkpoint, tmp_path / 'original.pth')
    model = from_file(
        swin, tmp_path / 'original.pth', convert_weights=True, window_size=4
    )
    plain = swin.plain(window_size=4)
    plain.init_cfg = model.init_cfg
    plain.convert_weights = True
    plain.init_weights()
    name = 'stages.0.blocks.1.attn.w_msa.relative_position_bias_table'
    assert torch.equal(model.state_dict()[name], plain.state_dict()[name])
    assert model.state_dict()[name].abs().sum() > 0


@pytest.mark.parametrize('use_abs_pos_embed', [False, True])
def test_weights_without_a_checkpoint_are_mmdets(swin, use_abs_pos_embed):
    models = []
    for kind in (Dr2SwinTransformer, SwinTransformer):
        torch.manual_seed(3)
        model = kind(**swin.arguments(use_abs_pos_embed=use_abs_pos_embed))
        model.init_weights()
        models.append(model)
    assert_same_weights(*models)


def copy_through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def copy_through_file(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    'duplicate', [copy.deepcopy, copy_through_pickle, copy_through_file]
)
@pytest.mark.parametrize('used_before', [False, True])
def test_a_copy_computes_the_same_and_has_its_own_coefficients(
    swin, duplicate, used_before
):
    model = swin.build(drop_path_rate=0.2, dual_residual=dict(chunk=49))
    model.set_coefficients(0.7, 0.4)
    image = swin.image(64, 64)
    if used_before:
        swin.step(model, model, image)
    other = duplicate(model)
    assert (other.alpha, other.beta) == (0.7, 0.4)
    assert other.dual_residual_options == model.dual_residual_options
    swin.assert_bitwise_equal(
        swin.step(other, other, image), swin.step(model, model, image)
    )
    other.set_coefficients(0.3, 0.7)
    assert (model.alpha, model.beta) == (0.7, 0.4)
