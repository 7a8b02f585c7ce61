"""Stages that watch their own reconstruction, and their reference."""

import pytest
import torch

from dr2net_mm.reversible import (
    DualResidualOptions,
    DualResidualStage,
    FunctionBranch,
    Piece,
)
from dr2net_mm.reversible.probe import ReferenceStage, WatchedStage


class SplitBranch(FunctionBranch):
    """Evaluated on three tokens at a time."""

    def pieces(self, stream):
        tokens = stream.numel() // stream.shape[-1]
        return [Piece(slice(i, i + 3)) for i in range(0, tokens, 3)]


def gradients(stage, mlps, kind=FunctionBranch, alpha=1.0, beta=0.1, **arguments):
    x = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1))
    x.requires_grad_(arguments.pop('input_gradient', True))
    branches = [kind(mlp) for mlp in mlps]
    torch.manual_seed(3)
    (output,) = stage(x, branches, alpha, beta, **arguments)
    leaves = [p for p in [x, *mlps.parameters()] if p.requires_grad]
    return torch.autograd.grad(output.sin().sum(), leaves)


@pytest.mark.parametrize('kind', [FunctionBranch, SplitBranch])
@pytest.mark.parametrize('stored', [None, [True, False, True, False]])
def test_both_have_the_gradients_of_the_stage_bit_for_bit(make_mlps, kind, stored):
    mlps = make_mlps(4, dropout=0.3)
    stage = DualResidualStage('stage', DualResidualOptions(memory_budget=10**9))
    watched = WatchedStage(stage)
    wanted = gradients(stage, mlps, kind, stored=stored)
    for each in (watched, ReferenceStage(stage)):
        found = gradients(each, mlps, kind, stored=stored)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted))
    assert watched.error() == 0.0


@pytest.mark.parametrize('kind', [FunctionBranch, SplitBranch])
def test_the_error_is_that_of_the_reconstructed_input(make_mlps, kind):
    mlps = make_mlps(9)
    stage = DualResidualStage('stage', DualResidualOptions(arithmetic='float'))
    watched = WatchedStage(stage)
    gradients(watched, mlps, kind)
    # By hand: forward with the equations, backward with their inverse.
    x0 = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x, y = x0, 0.1 * x0
        for mlp in mlps:
            x, y = mlp(x) + x + y, 0.1 * x
        for mlp in reversed(mlps):
            before = y / 0.1
            x, y = before, x - (mlp(before) + before)
    error = float((x - x0).norm() / x0.norm())
    assert watched.error() == pytest.approx(error, rel=0.5)
    assert watched.error() > 1e-4


def test_the_first_branch_that_a_gradient_reaches_is_watched(make_mlps):
    mlps = make_mlps(4)
    stage = DualResidualStage('stage', DualResidualOptions())
    watched = WatchedStage(stage)
    assert watched.error() is None
    mlps[:2].requires_grad_(False)
    gradients(watched, mlps, input_gradient=False)
    assert watched.error() == 0.0
    assert watched._witness.branch.function is mlps[2]
    mlps.requires_grad_(False)
    watched = WatchedStage(stage)
    with torch.no_grad():
        watched(torch.ones(2, 8), [FunctionBranch(mlps[0])], 1.0, 0.1)
    assert watched.error() is None
