"""Modules as one reversible stage, without a config."""

import copy
import inspect

import pytest
import torch
from torch import nn

import dr2net_mm
from dr2net_mm.backbones.base.counted_costs import CostedStage
from dr2net_mm.export.float_stage import FloatStage
from dr2net_mm.reversible import DualResidualSequential, DualResidualStage, Stage
from dr2net_mm.reversible.probe import ReferenceStage, WatchedStage


def branches(count=3):
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
        for _ in range(count)
    ]


def gradients(module, x):
    x = x.clone().requires_grad_()
    module(x).square().sum().backward()
    return [x.grad, *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize('coefficients', [(1.0, 0.1), (0.3, 0.7), (0.0, 1.0)])
def test_gradients_equal_those_of_stored_activations(coefficients):
    alpha, beta = coefficients
    reversible = DualResidualSequential(branches(), alpha=alpha, beta=beta)
    stored = DualResidualSequential(
        branches(), alpha=alpha, beta=beta, backprop='stored'
    )
    x = torch.randn(2, 5, 6)
    pairs = list(zip(gradients(reversible, x), gradients(stored, x)))
    assert len(pairs) == 1 + 3 * 6
    for found, expected in pairs:
        assert expected.abs().sum() > 0 and torch.equal(found, expected)


def test_at_one_and_zero_it_is_the_residual_network():
    modules = branches()
    network = DualResidualSequential(modules, alpha=1.0, beta=0.0).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    expected = x
    for module in modules:
        expected = expected + module(expected)
    # Exact arithmetic rounds to multiples of 2**-16 at each of the three steps.
    assert (network(x) - expected).abs().max() < 1e-4


def test_the_coefficients_are_in_the_state_dict():
    network = DualResidualSequential(branches())
    network.set_coefficients(0.5, 0.25)
    fresh = DualResidualSequential(copy.deepcopy(list(network.branches)))
    fresh.load_state_dict(network.state_dict())
    assert (fresh.alpha, fresh.beta) == (0.5, 0.25)


@pytest.mark.parametrize(
    'modules, options, message',
    [
        ([], {}, 'at least one branch, got 0'),
        (branches(1), dict(alpha=2.0), 'alpha'),
        (branches(1), dict(depth=3), "no option 'depth'"),
        (branches(1), dict(memory_budget=0.3), 'memory_budget=0.3'),
    ],
)
def test_what_cannot_be_used_is_refused(modules, options, message):
    with pytest.raises(ValueError, match=message):
        DualResidualSequential(modules, **options)


@pytest.mark.parametrize(
    'kind', [DualResidualStage, WatchedStage, ReferenceStage, FloatStage, CostedStage]
)
def test_what_runs_in_place_of_a_stage_is_called_like_one(kind):
    assert issubclass(kind, Stage)
    expected = inspect.signature(Stage.__call__).parameters
    found = inspect.signature(kind.__call__).parameters
    assert [(p.name, p.default) for p in found.values()] == [
        (p.name, p.default) for p in expected.values()
    ]


def test_public_names_can_be_imported_from_the_package():
    for name in dr2net_mm.__all__:
        assert getattr(dr2net_mm, name) is not None
    with pytest.raises(AttributeError, match='no_such_name'):
        dr2net_mm.no_such_name
