"""The members of the family, and what a stage returns."""

import pytest
import torch

from dr2net_mm.reversible import (
    DualResidualOptions,
    DualResidualStage,
    FunctionBranch,
    StageOutput,
)

#: Half a unit of rounding at every branch, seen through some branches.
FIXED_POINT = 2e-4


def output(branches, x, alpha, beta, **options):
    stage = DualResidualStage('stage', DualResidualOptions(**options))
    with torch.no_grad():
        (out,) = stage(x, [FunctionBranch(b) for b in branches], alpha, beta)
    return out


@pytest.mark.parametrize(
    'arithmetic, tolerance', [('float', 0), ('exact', FIXED_POINT)]
)
def test_one_and_zero_is_the_residual_network(make_mlps, arithmetic, tolerance):
    branches, x = make_mlps(6), torch.randn(2, 5, 8)
    expected = x
    with torch.no_grad():
        for branch in branches:
            expected = branch(expected) + expected
    options = dict(arithmetic=arithmetic, backprop='stored')
    found = output(branches, x, 1, 0, **options)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=tolerance + 1e-6)


@pytest.mark.parametrize(
    'arithmetic, tolerance', [('float', 0), ('exact', FIXED_POINT)]
)
@pytest.mark.parametrize('alpha', [0, 1])
def test_beta_one_is_revnet_or_drnet(make_mlps, arithmetic, tolerance, alpha):
    branches, x = make_mlps(6), torch.randn(2, 5, 8)
    before, now = x, x
    with torch.no_grad():
        for branch in branches:
            before, now = now, branch(now) + alpha * now + before
    found = output(branches, x, alpha, 1, arithmetic=arithmetic)
    torch.testing.assert_close(found, now, rtol=1e-6, atol=30 * tolerance + 1e-6)


@pytest.mark.parametrize('fusion', ['last', 'mean', 'concat', 'concat_yx'])
@pytest.mark.parametrize(
    'arithmetic, tolerance', [('float', 0), ('exact', FIXED_POINT)]
)
def test_streams_obey_the_equations_in_every_fusion(
    make_mlps, arithmetic, tolerance, fusion
):
    branches, x0 = make_mlps(5).double(), torch.randn(2, 5, 8).double()
    x, y = x0, 0.4 * x0
    with torch.no_grad():
        for branch in branches:
            x, y = branch(x) + 0.7 * x + y, 0.4 * x
    expected = {
        'last': x,
        'mean': (x + y) / 2,
        'concat': torch.cat((x, y), -1),
        'concat_yx': torch.cat((y, x), -1),
    }
    found = output(branches, x0, 0.7, 0.4, arithmetic=arithmetic, fusion=fusion)
    torch.testing.assert_close(
        found, expected[fusion], rtol=1e-9, atol=tolerance + 1e-9
    )


def test_the_printed_start_of_the_paper_is_not_the_pretrained_network(make_mlps):
    # y_0 = x_0, as printed beside Eq. 1, instead of y_0 = beta * x_0.
    branches, x0 = make_mlps(2).double(), torch.randn(2, 5, 8).double()
    with torch.no_grad():
        pretrained = x0
        for branch in branches:
            pretrained = branch(pretrained) + pretrained
        printed = branches[0](x0) + x0 + x0
        printed = branches[1](printed) + printed
    right = output(branches, x0, 1, 0, arithmetic='float', backprop='stored')
    assert torch.allclose(right, pretrained)
    assert (printed - pretrained).norm() > 0.3 * pretrained.norm()


@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
def test_all_modes_of_running_give_the_same_output(make_mlps, run_stage, arithmetic):
    branches, x = make_mlps(6), torch.randn(2, 5, 8)
    plain = output(branches, x, 0.5, 0.5, arithmetic=arithmetic)
    for backprop in ('reversible', 'stored'):
        result = run_stage(
            branches, x, 0.5, 0.5, arithmetic=arithmetic, backprop=backprop
        )
        assert torch.equal(result.output, plain)


def test_streams_that_grow_keep_their_range_at_one_and_one(make_mlps):
    # 36 branches at (1, 1) multiply the input by some 3e7, beyond 32 bits.
    branches, x = make_mlps(36), torch.randn(1, 3, 8)
    found = output(branches, x, 1, 1)
    expected = output(branches.double(), x.double(), 1, 1, arithmetic='float')
    assert found.abs().max() > 1e6
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e3)


def test_a_head_gives_several_outputs(make_mlps):
    branches, x = make_mlps(2), torch.randn(2, 5, 8)
    norm = torch.nn.LayerNorm(8)
    stage = DualResidualStage('stage', DualResidualOptions())
    both = StageOutput('last', lambda fused: (norm(fused), fused.mean(1)), [norm])
    outputs = stage(x, [FunctionBranch(b) for b in branches], 1, 0.1, both)
    assert [tuple(out.shape) for out in outputs] == [(2, 5, 8), (2, 8)]


@pytest.mark.parametrize(
    'x, branches, message',
    [
        (torch.ones(2, 8, dtype=torch.int64), 1, 'must be floating point'),
    ],
)
def test_unusable_input_is_refused(make_mlps, x, branches, message):
    stage = DualResidualStage('stage 2', DualResidualOptions())
    with pytest.raises(ValueError, match=f'stage 2: .*{message}'):
        stage(x, [FunctionBranch(b) for b in make_mlps(branches)], 1, 0.1)


def test_a_branch_that_changes_the_shape_is_named():
    stage = DualResidualStage('stage', DualResidualOptions())
    branch = FunctionBranch(torch.nn.Linear(8, 4))
    with pytest.raises(ValueError, match=r'FunctionBranch.*\(2, 8\).*\(2, 4\)'):
        stage(torch.ones(2, 8), [branch], 1, 0.1)


def test_a_function_without_modules_is_refused():
    with pytest.raises(TypeError, match='needs `modules`'):
        FunctionBranch(torch.sin)
