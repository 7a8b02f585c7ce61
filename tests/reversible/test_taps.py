"""Outputs that a stage hands out between its branches."""

from typing import Callable, List, Sequence, Tuple

import pytest
import torch
from torch import Tensor, nn

from dr2net_mm.reversible import (
    DualResidualOptions,
    DualResidualStage,
    FunctionBranch,
    StageOutput,
    TapeError,
)

COEFFICIENTS = [(1.0, 0.1), (0.3, 0.7), (0.0, 1.0), (1.0, 1.0)]


def outputs_of(
    branches: nn.ModuleList,
    norm: nn.Module,
    x: Tensor,
    coefficients: Tuple[float, float],
    at: Sequence[int] = (1, 3),
    **options,
) -> Tuple[Tensor, ...]:
    """Outputs of taps behind the branches ``at``, and of the end, all normed."""
    alpha, beta = coefficients
    stage = DualResidualStage('toy stage', DualResidualOptions(**options))
    torch.manual_seed(3)

    def output() -> StageOutput:
        return StageOutput('last', lambda fused: (norm(fused),), [norm])

    return stage(
        x,
        [FunctionBranch(branch) for branch in branches],
        alpha,
        beta,
        output(),
        taps={number: output() for number in at},
    )


def gradients_of(
    branches: nn.ModuleList,
    norm: nn.Module,
    x: Tensor,
    used: Sequence[int],
    *args,
    autocast: bool = False,
    **options,
) -> List[Tensor]:
    """Gradients of input and parameters under a loss of some of three outputs."""
    x = x.clone().requires_grad_()
    modules = nn.ModuleList([branches, norm])
    modules.zero_grad()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        outputs = outputs_of(branches, norm, x, *args, **options)
    sum((i + 1) * outputs[i].float().sin().sum() for i in used).backward()
    return [x.grad, *(parameter.grad for parameter in modules.parameters())]


@pytest.fixture
def norm() -> nn.LayerNorm:
    return nn.LayerNorm(8)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('used', [(0, 1, 2), (0, 2), (0, 1), (1,)])
@pytest.mark.parametrize('coefficients', COEFFICIENTS)
def test_gradients_through_taps_are_those_of_stored_activations(
    make_mlps: Callable, norm, x, coefficients, used, autocast
) -> None:
    mlps = make_mlps(5, dropout=0.2)
    found, expected = (
        gradients_of(
            mlps, norm, x, used, coefficients, autocast=autocast, backprop=backprop
        )
        for backprop in ('reversible', 'stored')
    )
    for a, b in zip(found, expected):
        # Branches behind the last output used have no gradient, or zero.
        b = torch.zeros_like(a) if b is None and a is not None else b
        assert (a is None and b is None) or torch.equal(a, b)


def test_taps_change_nothing_behind_them(make_mlps: Callable, norm, x) -> None:
    mlps = make_mlps(5)
    *_, with_taps = outputs_of(mlps, norm, x, (0.3, 0.7))
    (without,) = outputs_of(mlps, norm, x, (0.3, 0.7), at=())
    assert torch.equal(with_taps, without)


def test_a_tap_is_the_output_of_a_shorter_stage(make_mlps: Callable, norm, x) -> None:
    mlps = make_mlps(5)
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            first, second, _ = outputs_of(mlps, norm, x, (0.3, 0.7))
            for tapped, length in ((first, 1), (second, 3)):
                (short,) = outputs_of(mlps[:length], norm, x, (0.3, 0.7), at=())
                assert torch.equal(tapped, short)


def test_a_tap_behind_frozen_branches_needs_no_gradient(
    make_mlps: Callable, norm, x
) -> None:
    mlps = make_mlps(5)
    mlps[:2].requires_grad_(False)
    norm.requires_grad_(False)
    first, second, last = outputs_of(mlps, norm, x, (0.3, 0.7))
    assert [o.requires_grad for o in (first, second, last)] == [False, True, True]
    (second.sum() + last.sum()).backward()
    assert mlps[2].fc1.weight.grad is not None


def test_a_norm_behind_frozen_branches_gets_its_gradient(
    make_mlps: Callable, norm, x
) -> None:
    mlps = make_mlps(5)
    mlps[:2].requires_grad_(False)
    found = {}
    for backprop in ('reversible', 'stored'):
        norm.zero_grad()
        outputs = outputs_of(mlps, norm, x, (0.3, 0.7), backprop=backprop)
        sum(output.sin().sum() for output in outputs).backward()
        found[backprop] = norm.weight.grad.clone()
    assert torch.equal(found['reversible'], found['stored'])


def test_a_second_backward_pass_is_refused(make_mlps: Callable, norm, x) -> None:
    first, _, last = outputs_of(make_mlps(5), norm, x, (0.3, 0.7))
    last.sum().backward(retain_graph=True)
    with pytest.raises(TapeError, match='already been used up'):
        first.sum().backward()


@pytest.mark.parametrize('number', [0, 5, 6])
def test_a_tap_must_be_behind_a_branch_and_before_another(
    make_mlps: Callable, norm, x, number
) -> None:
    with pytest.raises(ValueError, match=f'branches 1 to 4, got {number};'):
        outputs_of(make_mlps(5), norm, x, (0.3, 0.7), at=(number,))


def test_a_tap_takes_the_first_stream_only(make_mlps: Callable, x) -> None:
    stage = DualResidualStage('toy stage', DualResidualOptions())
    branches = [FunctionBranch(branch) for branch in make_mlps(3)]
    with pytest.raises(ValueError, match="its fusion is 'last', got 'mean'"):
        stage(x, branches, 0.3, 0.7, taps={1: StageOutput('mean')})
