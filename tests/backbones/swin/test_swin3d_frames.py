"""Maps of chosen frames, and maps without norms."""

import pytest
import torch

from dr2net_mm.backbones import ConventionalSwinTransformer3D

FRAMES = [3, 0]


def step(video_swin, backprop, frames, **arguments):
    """Maps, and gradients of all parameters, of one training step."""
    model = video_swin.build(dual_residual=dict(backprop=backprop), **arguments)
    outputs = model(model.example_input(), frames)
    torch.manual_seed(0)
    sum((out * torch.randn_like(out)).sum() for out in outputs).backward()
    return outputs, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize('output_norm', [True, False])
def test_chosen_frames_are_those_of_all_maps_in_the_order_asked_for(
    video_swin, output_norm
):
    arguments = dict(out_indices=(0, 1), output_norm=output_norm)
    model = video_swin.build(**arguments).eval()
    x = model.example_input()
    with torch.no_grad():
        chosen, every = model(x, FRAMES), model(x)
    for mine, whole in zip(chosen, every):
        torch.testing.assert_close(mine, whole[:, :, FRAMES])


def test_reversible_gradients_of_chosen_frames_are_the_stored_ones(video_swin):
    arguments = dict(out_indices=(0, 1), output_norm=False)
    maps, reversible = step(video_swin, 'reversible', [1], **arguments)
    expected, stored = step(video_swin, 'stored', [1], **arguments)
    assert all(torch.equal(one, other) for one, other in zip(maps, expected))
    assert len(reversible) == len(stored) > 0
    assert all(torch.equal(one, other) for one, other in zip(reversible, stored))


def test_the_conventional_twin_has_the_same_arguments_and_names(video_swin):
    arguments = dict(out_indices=(0, 1), output_norm=False)
    model = video_swin.build(
        dual_residual=dict(alpha=1.0, beta=0.0, backprop='stored'), **arguments
    ).eval()
    config = model.plain_config(dict(output_norm=False, dual_residual={}))
    assert config['type'] == 'ConventionalSwinTransformer3D'
    twin = ConventionalSwinTransformer3D(**video_swin.arguments(**arguments))
    twin.eval().load_state_dict(model.state_dict(), strict=False)
    assert not any('norm0' in name for name in twin.state_dict())
    x = model.example_input()
    with torch.no_grad():
        for mine, theirs in zip(model(x, [1]), twin(x, [1])):
            assert theirs.shape[2] == 1
            torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=0)
