"""Parts of known models in pieces: the gradients of the model as it is."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from dr2net_mm.memory.in_pieces import restore_parts, run_in_pieces
from dr2net_mm.memory.parts import PRESETS, preset_parts
from tests.fixtures.known_models import MODELS, build

#: Models in which three or more gradients of one tensor are added up, some of them
#: within a part: in pieces the order is another.
ANOTHER_ORDER = ('decoder', 'decoder_masks', 'vsgn', 'actionformer')

#: Models that compute something in float32 whatever their inputs are.
SINGLE = dict(actionformer=1e-6)


def gradients(model, inputs):
    """Loss, gradients of the parameters, and of the inputs."""
    leaves = [x for x in tree_leaves(inputs) if x.requires_grad]
    for leaf in leaves:
        leaf.grad = None
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    outputs = [x for x in tree_leaves(model(**inputs)) if x.is_floating_point()]
    loss = sum((i + 1) * x.square().mean() for i, x in enumerate(outputs))
    loss.backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    found.update({f'input {i}': leaf.grad for i, leaf in enumerate(leaves)})
    return dict(found, loss=loss.detach())


def assert_close(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(
                found[name], value, msg=lambda text: f'{name}: {text}', **tolerance
            )


def in_pieces(model, size):
    parts = [part._replace(size=size) for part in preset_parts(model)]
    run_in_pieces(parts)
    return parts


@pytest.mark.parametrize('size', [1, 2, 7, 1000])
@pytest.mark.parametrize('name', MODELS)
def test_gradients_are_those_of_the_whole(name, size):
    model, inputs = build(name)
    expected = gradients(model, inputs)
    assert sum(value is not None for value in expected.values()) > 3
    parts = in_pieces(model, size)
    found = gradients(model, inputs)
    tolerance = SINGLE.get(name, 1e-12)
    if size == 1000 and name not in ANOTHER_ORDER:
        tolerance = 0  # one piece splits no sum
    assert_close(found, expected, rtol=tolerance * 100, atol=tolerance)
    restore_parts(parts)
    assert all('forward' not in vars(part.module) for part in parts)


class Offloaded(nn.Module):
    """Keeps what is saved for the backward pass elsewhere."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, torch.clone):
            return self.model(**inputs)


class Checkpointed(Offloaded):
    def forward(self, **inputs):
        return checkpoint(self.model, use_reentrant=False, **inputs)


@pytest.mark.parametrize('around', [Offloaded, Checkpointed])
def test_pieces_work_inside_checkpoints_and_with_saved_tensors_elsewhere(around):
    model, inputs = build('encoder')
    model = around(model)
    expected = gradients(model, inputs)
    in_pieces(model, 7)
    assert_close(gradients(model, inputs), expected, rtol=1e-10, atol=1e-12)


def test_every_preset_is_tried_here_but_that_of_whole_detectors():
    roles = {part.role for name in MODELS for part in preset_parts(build(name)[0])}
    assert roles == set(PRESETS) - {'proposals'}
