"""What goes wrong is said, and where."""

import copy
import pickle

import pytest
import torch
from torch import nn

from dr2net_mm.reversible import (
    DualResidualOptions,
    DualResidualStage,
    FixedPointOverflowError,
    FunctionBranch,
    ReconstructionError,
    TapeError,
)


def make_stage(**options) -> DualResidualStage:
    return DualResidualStage('Swin stage 3', DualResidualOptions(**options))


def test_a_second_backward_is_refused(make_mlps):
    branches = [FunctionBranch(b) for b in make_mlps(3)]
    (out,) = make_stage()(torch.randn(2, 8), branches, 1, 0.1)
    loss = out.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(TapeError, match='Swin stage 3 .*once for each forward pass'):
        loss.backward()


def test_a_backward_after_a_partial_one_is_refused(make_mlps):
    mlps = make_mlps(3)
    (out,) = make_stage()(torch.randn(2, 8), [FunctionBranch(b) for b in mlps], 1, 0.1)
    torch.autograd.grad(out.sum(), mlps[2].fc1.weight, retain_graph=True)
    with pytest.raises(TapeError, match='once for each forward pass'):
        out.sum().backward()


def test_differentiating_twice_is_refused(make_mlps):
    x = torch.randn(2, 8, requires_grad=True)
    (out,) = make_stage()(x, [FunctionBranch(b) for b in make_mlps(3)], 1, 0.1)
    with pytest.raises(TapeError, match='Swin stage 3 cannot be differentiated twice'):
        torch.autograd.grad(out.sum(), x, create_graph=True)


def test_a_parameter_changed_before_the_backward_is_named(make_mlps):
    mlps = make_mlps(3)
    (out,) = make_stage()(torch.randn(2, 8), [FunctionBranch(b) for b in mlps], 1, 0.1)
    with torch.no_grad():
        mlps[1].fc1.weight.add_(1)
    with pytest.raises(TapeError, match='Swin stage 3, branch 2 was changed in place'):
        out.sum().backward()


@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_an_input_that_is_not_finite_is_refused(make_mlps, arithmetic, bad):
    x = torch.randn(2, 8)
    x[1, 3] = bad
    branches = [FunctionBranch(b) for b in make_mlps(3)]
    with pytest.raises(FixedPointOverflowError, match='Swin stage 3.*not finite'):
        make_stage(arithmetic=arithmetic)(x, branches, 0.3, 0.7)


def test_a_branch_that_is_not_finite_is_refused(make_mlps):
    mlps = make_mlps(3)
    nn.init.constant_(mlps[1].fc2.bias, float('nan'))
    with pytest.raises(FixedPointOverflowError, match='Swin stage 3.*not finite'):
        make_stage()(torch.randn(2, 8), [FunctionBranch(b) for b in mlps], 1, 0.1)


@pytest.mark.parametrize('value', [33000.0, 1e9])
def test_an_input_out_of_range_is_refused_with_the_remedy(make_mlps, value):
    branches = [FunctionBranch(b) for b in make_mlps(3)]
    with pytest.raises(FixedPointOverflowError, match='fraction_bits'):
        make_stage()(torch.full((2, 8), value), branches, 1, 0.1)
    make_stage(fraction_bits=16)(torch.full((2, 8), 15000.0), branches, 1, 0.1)


@pytest.mark.parametrize('value', [20000.0, -30000.0, 1e12, -1e30])
def test_a_branch_that_leaves_the_range_is_refused(make_mlps, value):
    mlps = make_mlps(3)
    nn.init.constant_(mlps[1].fc2.bias, value)
    x = torch.full((2, 8), 20000.0 if value > 0 else -20000.0)
    with pytest.raises(FixedPointOverflowError, match='times the largest value'):
        make_stage()(x, [FunctionBranch(b) for b in mlps], 1, 0.1)


def test_a_pass_that_an_error_ended_is_not_held_against_the_next_one(make_mlps):
    branches = [FunctionBranch(b) for b in make_mlps(3)]
    stage = make_stage()

    def fail(x):
        raise ArithmeticError

    large = torch.full((2, 8), 1e5)
    with pytest.raises(ArithmeticError):
        stage(large, [FunctionBranch(fail, []), *branches], 1, 0.1)
    stage(torch.randn(2, 8), branches, 1, 0.1)
    with pytest.raises(FixedPointOverflowError):
        stage(large, branches, 1, 0.1)


def test_fewer_fraction_bits_take_larger_values(make_mlps):
    branches = [FunctionBranch(b) for b in make_mlps(3)]
    x = torch.full((2, 8), 1e6)
    (out,) = make_stage(fraction_bits=8)(x, branches, 1, 0.1)
    assert out.isfinite().all()


class Restless(nn.Module):
    """A branch that is a little different every time, unseen by torch's generators."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 8)
        self.size, self.calls = size, 0

    def forward(self, x):
        self.calls += 1
        return self.linear(self.norm(x)) * (1 + self.size * (self.calls % 3))


def restless_error(arithmetic: str, depth: int, size: float) -> float:
    gradients = {}
    for backprop, noise in (('reversible', size), ('stored', 0.0)):
        torch.manual_seed(0)
        branches = nn.ModuleList(Restless(noise) for _ in range(depth))
        x = torch.randn(4, 8, requires_grad=True)
        stage = make_stage(arithmetic=arithmetic, backprop=backprop)
        (out,) = stage(x, [FunctionBranch(b) for b in branches], 0.7, 0.4)
        out.sin().sum().backward()
        flat = [x.grad.flatten()] + [p.grad.flatten() for p in branches.parameters()]
        gradients[backprop] = torch.cat(flat)
    error = gradients['reversible'] - gradients['stored']
    return float(error.norm() / gradients['stored'].norm())


def test_branches_that_are_not_deterministic_degrade_to_the_error_of_float():
    # A flip of the last place is 2**-16 in exact, some 2**-22 in float arithmetic.
    noise = 1e-6
    exact = restless_error('exact', 8, noise)
    assert 0 < exact < 64 * restless_error('float', 8, noise)


def test_branches_that_are_far_from_deterministic_still_give_finite_gradients():
    assert restless_error('exact', 36, 1e-3) < float('inf')


def test_verification_names_the_stage_and_branch_that_differ(make_mlps):
    branches = [*make_mlps(2), Restless(1e-3), *make_mlps(2)]
    stage = make_stage(verify=True)
    (out,) = stage(torch.randn(4, 8), [FunctionBranch(b) for b in branches], 1, 0.1)
    with pytest.raises(ReconstructionError, match='Swin stage 3, branch 3'):
        out.sum().backward()


def test_verification_is_silent_where_reconstruction_is_exact(make_mlps, run_stage):
    branches, x = make_mlps(12, dropout=0.1), torch.randn(2, 7, 8)
    verified = run_stage(branches, x, verify=True)
    plain = run_stage(branches, x)
    assert all(torch.equal(a, b) for a, b in zip(verified[1], plain[1]))


def test_beta_zero_is_refused_by_a_float_reversible_stage(make_mlps):
    branches = [FunctionBranch(b) for b in make_mlps(2)]
    stage = make_stage(arithmetic='float')
    with pytest.raises(ValueError, match='cannot be reversed'):
        stage(torch.randn(2, 8), branches, 1, 0)


def test_a_stage_can_be_copied_and_pickled(make_mlps):
    stage = make_stage()
    branches = [FunctionBranch(b) for b in make_mlps(2)]
    (out,) = stage(torch.ones(2, 8), branches, 1, 0.1)
    for twin in (copy.deepcopy(stage), pickle.loads(pickle.dumps(stage))):
        assert torch.equal(twin(torch.ones(2, 8), branches, 1, 0.1)[0], out)
