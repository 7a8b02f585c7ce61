"""Checkpointed modules: same gradients, fewer activations, nothing else changed."""

import copy
import pickle

import pytest
import torch
from mmdet.models.layers import DeformableDetrTransformerEncoder
from torch import nn

from dr2net_mm.memory.activation_checkpoint import (
    checkpoint_modules,
    is_checkpointed,
    restore_modules,
)

LEVELS = ((6, 5), (3, 3))
WIDTH = 16


class Layer(nn.Module):
    """Called by keyword, random, and counting how often it runs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.runs = 0

    def forward(self, x, *, shift):
        self.runs += 1
        return dict(x=nn.functional.dropout(self.linear(x).tanh(), 0.5) + shift)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x):
        shift = x.mean()
        for layer in self.layers:
            x = layer(x, shift=shift)['x']
        return self.head(x).sum()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def gradients(model, loss_of):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    loss_of(model).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def loss_of(model):
    return model(torch.linspace(-1, 1, 3 * WIDTH).view(3, WIDTH))


def test_gradients_do_not_change_by_a_bit_with_dropout_and_keyword_arguments(model):
    expected = gradients(model, loss_of)
    checkpoint_modules(model, ['layers'])
    assert_same(gradients(model, loss_of), expected)


def test_each_child_of_a_list_runs_again_in_the_backward_pass(model):
    assert checkpoint_modules(model, ['layers']) == list(model.layers)
    loss = loss_of(model)
    assert [layer.runs for layer in model.layers] == [1, 1]
    loss.backward()
    assert [layer.runs for layer in model.layers] == [2, 2]


def test_a_module_is_chosen_by_its_own_name_too(model):
    assert checkpoint_modules(model, ['layers.1', 'head']) == [
        model.layers[1],
        model.head,
    ]


def test_evaluation_and_passes_without_gradients_are_ordinary(model):
    checkpoint_modules(model, ['layers'])
    with torch.no_grad():
        loss_of(model)
    model.eval()
    loss_of(model).backward()
    assert [layer.runs for layer in model.layers] == [2, 2]


def test_state_dict_and_module_names_stay_as_they_are(model):
    names, keys = [n for n, _ in model.named_modules()], list(model.state_dict())
    checkpoint_modules(model, ['layers'])
    assert [n for n, _ in model.named_modules()] == names
    assert list(model.state_dict()) == keys


def test_a_copy_made_afterwards_computes_with_its_own_weights(model):
    checkpoint_modules(model, ['layers'])
    averaged = copy.deepcopy(model)
    for parameter in averaged.parameters():
        parameter.data.mul_(0.5)
    expected = Model()
    expected.load_state_dict(averaged.state_dict())
    assert_same(gradients(averaged, loss_of), gradients(expected, loss_of))
    assert all(layer.runs == 0 for layer in model.layers)


def test_a_checkpointed_module_can_be_pickled(model):
    checkpoint_modules(model, ['layers'])
    loaded = pickle.loads(pickle.dumps(model))
    assert_same(gradients(loaded, loss_of), gradients(model, loss_of))


def test_doing_it_twice_is_doing_it_once_and_undoing_leaves_no_trace(model):
    checkpoint_modules(model, ['layers'])
    modules = checkpoint_modules(model, ['layers', 'layers.0'])
    loss_of(model).backward()
    assert [layer.runs for layer in model.layers] == [2, 2]
    restore_modules(modules)
    assert not any(is_checkpointed(module) for module in modules)
    assert all('forward' not in vars(module) for module in modules)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('layer', r"Model has no module 'layer'; nearest: layers"),
        ('layers.2', r"no module 'layers\.2'; nearest: layers\.[01], layers\.[01]"),
        ('neck', r"no module 'neck'; its children: layers, head"),
        ('', r"no module ''"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(model, name, message):
    with pytest.raises(ValueError, match=message):
        checkpoint_modules(model, ['head', name])
    assert not is_checkpointed(model.head)


def test_a_forward_replaced_by_someone_else_is_not_overridden(model):
    model.head.forward = lambda x: x
    with pytest.raises(ValueError, match='head of Model has had its forward replaced'):
        checkpoint_modules(model, ['head'])


def test_the_encoder_of_dino_gets_the_same_gradients_bit_for_bit():
    torch.manual_seed(0)
    encoder = DeformableDetrTransformerEncoder(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(
                embed_dims=WIDTH, num_levels=2, num_heads=2, dropout=0.1
            ),
            ffn_cfg=dict(embed_dims=WIDTH, feedforward_channels=32, ffn_drop=0.1),
        ),
    )
    shapes = torch.tensor(LEVELS)
    starts = torch.tensor([0, LEVELS[0][0] * LEVELS[0][1]])
    query = torch.randn(2, int(shapes.prod(1).sum()), WIDTH, requires_grad=True)

    def loss_of(encoder):
        return (
            encoder(
                query=query,
                query_pos=query * 0.5,
                key_padding_mask=None,
                spatial_shapes=shapes,
                level_start_index=starts,
                valid_ratios=query.new_ones(2, len(LEVELS), 2),
            )
            .square()
            .mean()
        )

    expected = gradients(encoder, loss_of)
    expected_query, query.grad = query.grad, None
    checkpoint_modules(nn.ModuleDict(dict(encoder=encoder)), ['encoder.layers'])
    assert is_checkpointed(encoder.layers[1])
    assert_same(gradients(encoder, loss_of), expected)
    assert torch.equal(query.grad, expected_query)
