"""What goes into a checkpoint of ``Dr2VisionTransformer``, and what comes out."""

import copy
import pickle

import pytest
import torch
from mmengine.runner import load_checkpoint

from dr2net_mm.backbones import Dr2VisionTransformer

from mmaction.models.backbones import VisionTransformer  # isort: skip

ADDED = ['dual_residual.alpha', 'dual_residual.beta']


@pytest.mark.parametrize(
    'arguments',
    [{}, dict(init_values=0.5, use_learnable_pos_emb=True, use_mean_pooling=False)],
    ids=['default', 'gamma, learnable, norm'],
)
def test_only_the_coefficients_are_added_to_the_state_dict(vit, arguments):
    model, plain = vit.build(**arguments), vit.plain(**arguments)
    assert list(model.state_dict()) == [*plain.state_dict(), *ADDED]
    named = [dict(m.named_parameters()).keys() for m in (model, plain)]
    assert named[0] == named[1]


def test_a_checkpoint_of_mmaction_loads_strictly(vit, tmp_path):
    plain = vit.plain()
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / 'plain.pth')
    model = vit.build(seed=1)
    load_checkpoint(model, str(tmp_path / 'plain.pth'), strict=True)
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert (model.alpha, model.beta) == (1.0, 0.1)


def test_coefficients_come_back_from_a_checkpoint(vit, tmp_path):
    model = vit.build()
    model.set_coefficients(0.85, 0.25)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'trained.pth')
    loaded = vit.build(seed=1)
    load_checkpoint(loaded, str(tmp_path / 'trained.pth'), strict=True)
    assert (loaded.alpha, loaded.beta) == (0.85, 0.25)


def test_pretrained_loads_what_mmaction_forgets(vit, tmp_path):
    plain = vit.plain()
    path = str(tmp_path / 'plain.pth')
    torch.save(plain.state_dict(), path)
    states = []
    for build in (vit.build, vit.plain):
        model = build(pretrained=path)
        with torch.no_grad():
            model.blocks[0].mlp.layers[1].weight.zero_()
        model.init_weights()
        states.append(model.state_dict())
    name = 'blocks.0.mlp.layers.1.weight'
    assert torch.equal(states[0][name], plain.state_dict()[name])
    assert not torch.equal(states[1][name], plain.state_dict()[name])


def test_without_a_checkpoint_the_weights_are_mmactions(vit):
    states = []
    for build in (Dr2VisionTransformer, VisionTransformer):
        torch.manual_seed(3)
        model = build(**vit.arguments(init_values=0.5, use_learnable_pos_emb=True))
        model.init_weights()
        states.append(model.state_dict())
    for name, value in states[1].items():
        assert torch.equal(states[0][name], value), name


@pytest.mark.parametrize(
    'duplicate', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_computes_the_same_and_has_its_own_coefficients(vit, duplicate):
    model = vit.build(drop_path_rate=0.2)
    model.set_coefficients(0.7, 0.4)
    vit.step(model, model, vit.video())
    other = duplicate(model)
    vit.assert_bitwise_equal(
        vit.step(other, other, vit.video()), vit.step(model, model, vit.video())
    )
    other.set_coefficients(0.3, 0.7)
    assert (model.alpha, model.beta) == (0.7, 0.4)
