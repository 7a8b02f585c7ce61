"""Branches of further tensors that need a gradient, such as shared positions."""

import pytest
import torch
from torch import nn

from dr2net_mm.reversible import (
    Branch,
    DualResidualOptions,
    DualResidualStage,
    FunctionBranch,
    Piece,
    StageOutput,
    TapeError,
)
from dr2net_mm.reversible.probe import ReferenceStage, WatchedStage
from dr2net_mm.reversible.traced import run_traced

ALPHA, BETA = 0.8, 0.3
POINTS = [(1, 0.1), (1, 0), (0.4, 0.7), (0, 1)]


class Positioned(nn.Module):
    """F(x, p) = mlp(x + p) + a·p, which uses p twice."""

    def __init__(self, mlp: nn.Module, alpha: float) -> None:
        super().__init__()
        self.mlp, self.alpha = mlp, alpha

    def forward(self, x, p):
        return self.mlp(x + p) + self.alpha * p


class SplitPositions(Branch):
    """The same on three tokens at a time."""

    def __init__(self, function, p):
        self.function, self.p = function, p

    def parameters(self):
        return list(self.function.parameters())

    def inputs(self):
        return (self.p,)

    def with_inputs(self, inputs):
        return SplitPositions(self.function, *inputs)

    def pieces(self, stream):
        tokens = stream.numel() // stream.shape[-1]
        return [Piece(slice(i, i + 3)) for i in range(0, tokens, 3)]

    def __call__(self, x, piece, drop_mask):
        return self.function(x, piece.read(self.p))


def whole(function, p):
    return FunctionBranch(function, [function], [p])


def data():
    generator = torch.Generator().manual_seed(1)
    x, p = (torch.randn(2, 9, 8, generator=generator) for _ in range(2))
    return x.requires_grad_(), p.requires_grad_()


def branches_of(mlps, make, p, alpha):
    """Every other branch depends on p."""
    return [
        FunctionBranch(mlp) if i % 2 else make(Positioned(mlp, alpha), p)
        for i, mlp in enumerate(mlps)
    ]


def gradients(stage, mlps, make, alpha=ALPHA, beta=BETA, autocast=False, **arguments):
    """Gradients of x, of what the positions are computed from, and of parameters."""
    x, source = data()
    torch.manual_seed(3)
    embed = nn.Linear(8, 8)
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        p = embed(source)
        branches = branches_of(mlps, make, p, alpha)
        (output,) = stage(x, branches, alpha, beta, **arguments)
    leaves = [x, source, *embed.parameters(), *mlps.parameters()]
    return torch.autograd.grad(output.float().sin().sum(), leaves)


def stage_of(**options):
    options = DualResidualOptions(alpha=ALPHA, beta=BETA, **options)
    return DualResidualStage('stage', options)


def assert_same(found, wanted):
    assert len(found) == len(wanted) and wanted[1].any()
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


@pytest.mark.parametrize('make', [whole, SplitPositions])
@pytest.mark.parametrize('alpha, beta', POINTS)
def test_gradients_equal_stored_ones_bit_for_bit(make_mlps, make, alpha, beta):
    mlps = make_mlps(6, dropout=0.2)
    one, other = (
        gradients(stage_of(backprop=backprop), mlps, make, alpha, beta)
        for backprop in ('reversible', 'stored')
    )
    assert_same(one, other)


@pytest.mark.parametrize('make', [whole, SplitPositions])
def test_gradients_equal_stored_ones_under_autocast(make_mlps, make):
    mlps = make_mlps(4)
    one, other = (
        gradients(stage_of(backprop=backprop), mlps, make, autocast=True)
        for backprop in ('reversible', 'stored')
    )
    assert_same(one, other)


@pytest.mark.parametrize('make', [whole, SplitPositions])
def test_storing_some_branches_changes_no_gradient(make_mlps, make):
    mlps = make_mlps(4)
    wanted = gradients(stage_of(), mlps, make)
    found = gradients(stage_of(), mlps, make, stored=[True, False, False, True])
    assert_same(found, wanted)


@pytest.mark.parametrize('make', [whole, SplitPositions])
def test_measuring_stages_pass_the_inputs_on(make_mlps, make):
    mlps = make_mlps(4)
    wanted = gradients(stage_of(), mlps, make)
    watched = WatchedStage(stage_of())
    assert_same(gradients(watched, mlps, make), wanted)
    assert watched.error() == 0.0
    assert_same(gradients(ReferenceStage(stage_of()), mlps, make), wanted)


def test_float_arithmetic_agrees_with_the_equations_in_float64(make_mlps):
    mlps = make_mlps(4).double()
    x, p = (tensor.detach().double().requires_grad_() for tensor in data())
    stage = stage_of(arithmetic='float')
    branches = branches_of(mlps, whole, p, ALPHA)
    (output,) = stage(x, branches, ALPHA, BETA)
    leaves = [x, p, *mlps.parameters()]
    found = torch.autograd.grad(output.sin().sum(), leaves)
    a, b = x, BETA * x
    for i, mlp in enumerate(mlps):
        f = mlp(a) if i % 2 else mlp(a + p) + ALPHA * p
        a, b = f + ALPHA * a + b, BETA * a
    torch.testing.assert_close(output, a)
    wanted = torch.autograd.grad(a.sin().sum(), leaves)
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)


def test_an_input_alone_gets_its_gradient(make_mlps):
    mlps = make_mlps(3).requires_grad_(False)
    x, p = data()
    branches = branches_of(mlps, whole, p, ALPHA)
    found = []
    for backprop in ('reversible', 'stored'):
        (output,) = stage_of(backprop=backprop)(x.detach(), branches, ALPHA, BETA)
        found += torch.autograd.grad(output.sin().sum(), [p])
    assert found[0].any() and torch.equal(*found)


def test_a_graph_and_evaluation_see_the_inputs(make_mlps):
    mlps = make_mlps(4)
    x, p = data()
    branches, options = branches_of(mlps, whole, p, ALPHA), stage_of().options
    with torch.no_grad():
        (wanted,) = stage_of(arithmetic='float')(x, branches, ALPHA, BETA)
        stage_output = StageOutput(options.fusion)
        (found,) = run_traced(options, x, branches, ALPHA, BETA, stage_output, {})
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_an_input_that_changes_before_the_backward_pass_is_noticed(make_mlps):
    mlps = make_mlps(2)
    x, p = data()
    p = p.detach()
    (output,) = stage_of()(x, branches_of(mlps, whole, p, ALPHA), ALPHA, BETA)
    p.add_(1)
    with pytest.raises(TapeError, match='input of stage, branch 1 was changed'):
        output.sum().backward()


def test_a_branch_that_cannot_take_other_inputs_is_named(make_mlps):
    class Forgetful(SplitPositions):
        with_inputs = Branch.with_inputs

    x, p = data()
    branch = Forgetful(Positioned(make_mlps(1)[0], ALPHA), p)
    with pytest.raises(NotImplementedError, match='Forgetful has inputs'):
        stage_of()(x, [branch], ALPHA, BETA)
