"""The conventional twin is timm's model, and checkpointing changes no gradient."""

import pytest
import timm
import torch

from dr2net_mm.backbones import ConventionalTimmBackbone, Dr2TimmBackbone
from dr2net_mm.memory.activation_checkpoint import is_checkpointed

SMALL = dict(embed_dim=16, depth=3, num_heads=2, img_size=16, patch_size=8)
NAMES = ['vit_small_patch14_reg4_dinov2', 'beit_base_patch16_224']


def build(name: str, **changes) -> ConventionalTimmBackbone:
    torch.manual_seed(0)
    arguments = {**SMALL, 'out_indices': [0, 1], 'drop_path_rate': 0.2, **changes}
    return ConventionalTimmBackbone(name, **arguments)


def step(model: torch.nn.Module) -> list:
    images = torch.ones(2, 3, 16, 16).sin().requires_grad_()
    torch.manual_seed(1)
    sum(out.square().sum() for out in model.train()(images)).backward()
    return [images.grad, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('norm', [False, True])
def test_its_features_are_those_of_timm(name, norm):
    model = build(name, output_norm=norm).eval()
    twin = timm.create_model(name, num_classes=0, **SMALL).eval()
    state = {**twin.state_dict(), **model.state_dict()}
    twin.load_state_dict(state)
    images = torch.ones(2, 3, 16, 16).sin()
    expected = twin.forward_intermediates(
        images, indices=[0, 1], norm=norm, intermediates_only=True
    )
    outs = model(images)
    assert len(outs) == 2
    assert all(torch.equal(a, b) for a, b in zip(outs, expected))


@pytest.mark.parametrize('name', NAMES)
def test_checkpointed_blocks_give_the_same_gradients(name):
    stored, checkpointed = build(name), build(name, with_cp=True)
    assert [is_checkpointed(block) for block in checkpointed.blocks] == [True] * 2
    for ours, theirs in zip(step(checkpointed), step(stored)):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)


def test_its_weights_and_arguments_are_those_of_the_dual_residual_class():
    model = build(NAMES[0])
    ours = Dr2TimmBackbone(NAMES[0], out_indices=[0, 1], drop_path_rate=0.2, **SMALL)
    ours.load_state_dict(model.state_dict())
    assert model.out_channels == ours.out_channels == [16, 16]


def test_images_of_another_size_are_named():
    with pytest.raises(ValueError, match='dynamic_img_size=True'):
        build(NAMES[0])(torch.zeros(1, 3, 32, 32))
