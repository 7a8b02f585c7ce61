"""Every family: timm's names, timm's features, and exact gradients."""

from typing import Callable

import pytest
import torch
from torch import Tensor, nn

#: Names of what the features do not use.
HEADS = ('head', 'fc_norm', 'attn_pool', 'blocks_token_only', 'cls_token')

EXACT = dict(arithmetic='exact', fraction_bits=20)


def test_names_and_shapes_are_timms(build: Callable, twin: nn.Module) -> None:
    model = build()
    ours = {k: v.shape for k, v in model.state_dict().items() if 'dual' not in k}
    theirs = {k: v.shape for k, v in twin.state_dict().items()}
    unused = {name for name in theirs if name not in ours}
    assert all(name.startswith(HEADS) for name in unused)
    assert ours == {k: v for k, v in theirs.items() if k not in unused}
    # And back: nothing of ours is strange to timm's model.
    missing, unexpected = twin.load_state_dict(
        {k: v for k, v in model.state_dict().items() if 'dual' not in k}, strict=False
    )
    assert set(missing) == unused and not unexpected


@pytest.mark.parametrize('norm', [False, True])
def test_features_at_one_and_zero_are_timms(
    case, build: Callable, twin: nn.Module, images: Tensor, norm: bool
) -> None:
    if norm and not case.norm:
        pytest.skip('timm has no norm for the features of this family')
    options = dict(alpha=1.0, beta=0.0, arithmetic='float', backprop='stored')
    model = build(dual_residual=options, output_norm=norm).eval()
    # With gradients in both: torch chooses other attention kernels without.
    expected = twin.forward_intermediates(
        images, indices=list(case.out_indices), norm=norm, intermediates_only=True
    )
    found = model(images)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.shape == b.shape
        if case.exact:
            assert torch.equal(a, b)
        else:
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_exact_arithmetic_differs_by_fixed_point_steps(
    build: Callable, images: Tensor
) -> None:
    float_options = dict(alpha=1.0, beta=0.0, arithmetic='float', backprop='stored')
    with torch.no_grad():
        expected = build(dual_residual=float_options).eval()(images)
        found = build(dual_residual=dict(alpha=1.0, beta=0.0, **EXACT)).eval()(images)
    for a, b in zip(found, expected):
        # Steps of 2**-20, which later blocks may make more of.
        assert (a - b).abs().max() < 2e-4 * b.abs().max()


@pytest.mark.parametrize('autocast', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('coefficients', [(1.0, 0.1), (0.3, 0.7), (0.0, 1.0)])
def test_reversible_gradients_are_those_of_stored_activations(
    build: Callable,
    gradients: Callable,
    images: Tensor,
    coefficients,
    autocast: bool,
) -> None:
    alpha, beta = coefficients
    found = {}
    for backprop in ('reversible', 'stored'):
        options = dict(alpha=alpha, beta=beta, backprop=backprop)
        model = build(dual_residual=options, drop_path_rate=0.3)
        found[backprop] = gradients(model, images, autocast)
    assert all(
        (a is None and b is None) or torch.equal(a, b)
        for a, b in zip(found['reversible'], found['stored'])
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    # No parameter that DDP would wait for.
    assert trained and all(p.grad is not None for p in trained)


def test_gradients_of_small_pieces_are_those_of_stored_activations(
    build: Callable, gradients: Callable, images: Tensor
) -> None:
    # A sample, a window or a few tokens at a time, in the layers between stages too.
    found, expected = (
        gradients(
            build(dual_residual=dict(chunk=20, backprop=backprop), drop_path_rate=0.3),
            images,
            autocast=False,
        )
        for backprop in ('reversible', 'stored')
    )
    assert all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(found, expected)
    )


def test_a_memory_budget_changes_no_gradient(
    build: Callable, gradients: Callable, images: Tensor
) -> None:
    everything = build(drop_path_rate=0.3)
    stored = build(dual_residual=dict(memory_budget=10**9), drop_path_rate=0.3)
    expected, found = (
        gradients(model, images, autocast=False) for model in (everything, stored)
    )
    (plan,) = stored._storage_plans.values()
    assert any(any(stage) for stage in plan)
    assert all(
        (a is None and b is None) or torch.equal(a, b) for a, b in zip(found, expected)
    )


def test_channels_and_strides_are_those_of_the_features(
    case, build: Callable, images: Tensor
) -> None:
    model = build().eval()
    with torch.no_grad():
        features = model(images)
    assert [f.shape[1] for f in features] == list(model.out_channels)
    assert [case.size // f.shape[2] for f in features] == list(model.out_strides)
