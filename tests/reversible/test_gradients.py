"""Gradients of the reversible backward."""

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
)

COEFFICIENTS = [
    (1, 0.1), (1, 0.01), (0.7, 0.4), (0.5, 0.5), (0.3, 0.7), (0, 1), (1, 1), (1, 0),
]  # fmt: skip


def same(first, second) -> bool:
    pairs = list(zip(first.gradients, second.gradients))
    assert pairs and all(a is not None and b is not None for a, b in pairs)
    outputs = torch.equal(first.output, second.output)
    return outputs and all(torch.equal(a, b) for a, b in pairs)


def relative_error(first, second) -> float:
    a = torch.cat([gradient.flatten() for gradient in first.gradients]).double()
    b = torch.cat([gradient.flatten() for gradient in second.gradients]).double()
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize('depth', [2, 12, 36])
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('alpha, beta', COEFFICIENTS)
def test_exact_gradients_equal_stored_ones_bit_for_bit(
    make_mlps, run_stage, alpha, beta, autocast, depth
):
    branches, x = make_mlps(depth, dropout=0.1), torch.randn(2, 7, 8)
    results = [
        run_stage(branches, x, alpha, beta, autocast, backprop=backprop)
        for backprop in ('reversible', 'stored')
    ]
    assert same(*results)


@pytest.mark.parametrize('fusion', ['mean', 'concat', 'concat_yx'])
@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7), (0, 1)])
def test_exact_gradients_equal_stored_ones_in_every_fusion(
    make_mlps, run_stage, alpha, beta, fusion
):
    branches, x = make_mlps(6), torch.randn(2, 7, 8)
    results = [
        run_stage(branches, x, alpha, beta, fusion=fusion, backprop=backprop)
        for backprop in ('reversible', 'stored')
    ]
    assert same(*results)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_exact_gradients_equal_stored_ones_in_models_of_other_types(
    make_mlps, run_stage, dtype
):
    branches, x = make_mlps(6).to(dtype), torch.randn(2, 7, 8).to(dtype)
    results = [
        run_stage(branches, x, backprop=backprop)
        for backprop in ('reversible', 'stored')
    ]
    assert results[0].output.dtype is dtype
    assert same(*results)


@pytest.mark.parametrize('alpha, beta', COEFFICIENTS)
def test_exact_gradients_are_close_to_those_of_a_float64_model(
    make_mlps, run_stage, alpha, beta
):
    branches, x = make_mlps(12), torch.randn(2, 7, 8)
    exact = run_stage(branches, x, alpha, beta)
    double = run_stage(
        branches.double(), x.double(), alpha, beta, arithmetic='float',
        backprop='stored',
    )  # fmt: skip
    assert relative_error(exact, double) < 2e-3


def test_stored_float_gradients_are_those_of_the_plain_equations(make_mlps, run_stage):
    branches, x = make_mlps(5).double(), torch.randn(2, 7, 8).double()
    stored = run_stage(branches, x, 0.7, 0.4, arithmetic='float', backprop='stored')
    branches.zero_grad()
    x0 = x.clone().requires_grad_()
    now, added = x0, 0.4 * x0
    for branch in branches:
        now, added = branch(now) + 0.7 * now + added, 0.4 * now
    now.sin().sum().backward()
    expected = [x0.grad] + [parameter.grad for parameter in branches.parameters()]
    for found, wanted in zip(stored.gradients, expected):
        torch.testing.assert_close(found, wanted)


def test_float_reconstruction_errs_as_the_paper_leaves_it(make_mlps, run_stage):
    branches, x = make_mlps(24), torch.randn(2, 7, 8)
    errors = {}
    for alpha, beta in [(1, 0.1), (0.3, 0.7), (0, 1)]:
        results = [
            run_stage(branches, x, alpha, beta, arithmetic='float', backprop=backprop)
            for backprop in ('reversible', 'stored')
        ]
        errors[alpha, beta] = relative_error(*results)
    assert not errors[1, 0.1] < 0.1
    assert 1e-6 < errors[0.3, 0.7] < 1e-2
    assert errors[0, 1] < 1e-5


class _FreshBackward(torch.autograd.Function):
    """Runs its own forward again in every backward, which gradcheck repeats."""

    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.function = function
        ctx.save_for_backward(*inputs)
        with torch.no_grad():
            return function(*inputs)

    @staticmethod
    def backward(ctx, grad):
        inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            output = ctx.function(*inputs)
        return (None, *torch.autograd.grad(output, inputs, grad))


@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7), (0, 1), (1, 1)])
@pytest.mark.parametrize('fusion', ['last', 'mean', 'concat', 'concat_yx'])
def test_float_reversible_backward_agrees_with_finite_differences(alpha, beta, fusion):
    torch.manual_seed(0)
    options = DualResidualOptions(arithmetic='float', fusion=fusion)
    stage = DualResidualStage('stage', options)

    def function(x, *weights):
        branches = [_Weighted(weight) for weight in weights]
        return stage(x, branches, alpha, beta)[0]

    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weights = [
        torch.randn(4, 4, dtype=torch.float64, requires_grad=True) for _ in range(4)
    ]
    assert torch.autograd.gradcheck(
        lambda *inputs: _FreshBackward.apply(function, *inputs), (x, *weights)
    )


class _Weighted(Branch):
    """``tanh(x W)`` for a weight that is a tensor of its own."""

    def __init__(self, weight):
        self.weight = weight

    def parameters(self):
        return [self.weight]

    def __call__(self, x, piece, drop_mask):
        return (x @ self.weight).tanh()


class _Pieces(FunctionBranch):
    """A token-by-token branch, cut into pieces by slices or by indices."""

    def __init__(self, module, indices):
        super().__init__(module)
        self.indices = indices

    def pieces(self, stream):
        return [Piece(index) for index in self.indices]


@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
def test_pieces_change_nothing_but_the_order_of_sums(make_mlps, run_stage, arithmetic):
    mlps, x = make_mlps(4, dropout=0.2).eval(), torch.randn(2, 6, 8)
    stage = DualResidualStage('stage', DualResidualOptions(arithmetic=arithmetic))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    cuts = [[slice(0, 5), slice(5, 12)], [order[:3], order[3:]]]
    results = []
    for indices in (None, *cuts):
        mlps.zero_grad()
        leaf = x.clone().requires_grad_()
        branches = [
            FunctionBranch(m) if indices is None else _Pieces(m, indices) for m in mlps
        ]
        (out,) = stage(leaf, branches, 0.3, 0.7)
        out.sin().sum().backward()
        results.append([out.detach(), leaf.grad] + [p.grad for p in mlps.parameters()])
    for cut in results[1:]:
        for whole, part in zip(results[0], cut):
            torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('autocast', [False, True])
def test_exact_gradients_in_pieces_equal_stored_ones_with_dropout(make_mlps, autocast):
    mlps, x = make_mlps(4, dropout=0.2), torch.randn(2, 6, 8)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    results = []
    for backprop in ('reversible', 'stored'):
        stage = DualResidualStage('stage', DualResidualOptions(backprop=backprop))
        mlps.zero_grad()
        leaf = x.clone().requires_grad_()
        torch.manual_seed(1)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
            branches = [_Pieces(m, [order[:3], order[3:8], order[8:]]) for m in mlps]
            (out,) = stage(leaf, branches, 1, 0.1)
        out.sin().sum().backward()
        results.append([out.detach(), leaf.grad] + [p.grad for p in mlps.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize('backprop', ['reversible', 'stored'])
@pytest.mark.parametrize('frozen', [0, 1, 3, 6])
def test_branches_above_frozen_ones_get_their_gradients(
    make_mlps, run_stage, backprop, frozen
):
    branches, x = make_mlps(6), torch.randn(2, 7, 8)
    expected = run_stage(branches, x).gradients
    for branch in branches[:frozen]:
        branch.requires_grad_(False)
    if frozen == 6:
        stage = DualResidualStage('stage', DualResidualOptions(backprop=backprop))
        (out,) = stage(x, [FunctionBranch(b) for b in branches], 1, 0.1)
        assert not out.requires_grad
        return
    found = run_stage(branches, x, input_gradient=False, backprop=backprop).gradients
    first = 1 + 6 * frozen
    assert all(gradient is None for gradient in found[:first])
    assert all(torch.equal(a, b) for a, b in zip(found[first:], expected[first:]))


def test_a_frozen_branch_in_the_middle_passes_gradients_on(make_mlps, run_stage):
    branches, x = make_mlps(3), torch.randn(2, 7, 8)
    expected = run_stage(branches, x).gradients
    branches[1].requires_grad_(False)
    found = run_stage(branches, x).gradients
    for position, (gradient, wanted) in enumerate(zip(found, expected)):
        if 7 <= position < 13:
            assert gradient is None
        else:
            assert torch.equal(gradient, wanted)


@pytest.mark.parametrize('used', [(True, True), (True, False), (False, True)])
def test_head_outputs_that_are_not_used_need_no_gradient(make_mlps, used):
    mlps, x, norm = make_mlps(4), torch.randn(2, 5, 8), nn.LayerNorm(8)
    results = []
    for backprop in ('reversible', 'stored'):
        stage = DualResidualStage('stage', DualResidualOptions(backprop=backprop))
        mlps.zero_grad()
        norm.zero_grad()
        leaf = x.clone().requires_grad_()
        both = StageOutput(
            'last', lambda fused: (norm(fused), fused.transpose(0, 1)), [norm]
        )
        outputs = stage(leaf, [FunctionBranch(m) for m in mlps], 1, 0.1, both)
        sum(out.sin().sum() for out, use in zip(outputs, used) if use).backward()
        results.append(
            [leaf.grad, norm.weight.grad] + [p.grad for p in mlps.parameters()]
        )
    assert (results[0][1] is None) == (not used[0])
    for a, b in zip(*results):
        assert (a is None and b is None) or torch.equal(a, b)


def test_the_gradient_given_to_backward_is_left_as_it_was(make_mlps):
    mlps, x = make_mlps(3), torch.randn(2, 5, 8)
    stage = DualResidualStage('stage', DualResidualOptions())
    (out,) = stage(x, [FunctionBranch(m) for m in mlps], 1, 0.1)
    gradient = torch.randn_like(out)
    before = gradient.clone()
    out.backward(gradient)
    assert torch.equal(gradient, before)


def test_the_input_is_left_as_it_was(make_mlps, run_stage):
    branches, x = make_mlps(3), torch.randn(2, 5, 8)
    before = x.clone()
    for arithmetic in ('exact', 'float'):
        stage = DualResidualStage('stage', DualResidualOptions(arithmetic=arithmetic))
        stage(x, [FunctionBranch(b) for b in branches], 1, 0.1)[0].sum().backward()
        assert torch.equal(x, before)


def test_random_generators_end_where_stored_training_leaves_them(make_mlps, run_stage):
    branches, x = make_mlps(4, dropout=0.3), torch.randn(2, 5, 8)
    states = []
    for backprop in ('reversible', 'stored'):
        run_stage(branches, x, backprop=backprop)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
