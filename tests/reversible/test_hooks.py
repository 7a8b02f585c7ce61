"""Hooks of parameters: called once, with the whole gradient."""

import pytest
import torch
from torch import nn

from dr2net_mm.reversible import (
    DualResidualOptions,
    DualResidualStage,
    FunctionBranch,
    Piece,
    StageOutput,
)


class SplitBranch(FunctionBranch):
    """Evaluated on three tokens at a time."""

    def pieces(self, stream):
        tokens = stream.numel() // stream.shape[-1]
        return [Piece(slice(i, i + 3)) for i in range(0, tokens, 3)]


@pytest.mark.parametrize('stored', [[False] * 3, [True] * 3])
@pytest.mark.parametrize('backprop', ['reversible', 'stored'])
def test_a_hook_of_a_parameter_changes_its_gradient_once(make_mlps, backprop, stored):
    mlps = make_mlps(3)
    norm = nn.LayerNorm(8)
    parameters = {**dict(mlps.named_parameters()), 'norm': norm.weight}
    options = DualResidualOptions(backprop=backprop)
    stage = DualResidualStage('stage', options)
    x = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1))

    def gradients():
        stage_output = StageOutput('last', lambda fused: (norm(fused),), [norm])
        branches = [SplitBranch(mlp) for mlp in mlps]
        (output,) = stage(x.requires_grad_(), branches, 1.0, 0.1, stage_output, stored)
        for parameter in parameters.values():
            parameter.grad = None
        output.sin().sum().backward()
        return {name: p.grad.clone() for name, p in parameters.items()}

    plain = gradients()
    calls = []

    def scale(gradient, name):
        calls.append(name)
        return gradient * 0.5

    for name, parameter in parameters.items():
        parameter.register_hook(lambda gradient, name=name: scale(gradient, name))
    for _ in range(2):
        calls.clear()
        for name, gradient in gradients().items():
            assert torch.equal(gradient, plain[name] * 0.5), name
        assert sorted(calls) == sorted(parameters)


def test_hooks_are_there_again_after_a_failed_backward_pass(make_mlps):
    (mlp,) = make_mlps(1)
    calls = []
    mlp.fc1.weight.register_hook(calls.append)
    stage = DualResidualStage('stage', DualResidualOptions())

    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ArithmeticError('in the middle')

    branch = FunctionBranch(lambda x: Failing.apply(mlp(x)), [mlp])
    x = torch.ones(2, 8)
    with pytest.raises(ArithmeticError):
        stage(x, [branch], 1.0, 0.1)[0].sum().backward()
    assert not calls
    stage(x, [FunctionBranch(mlp)], 1.0, 0.1)[0].sin().sum().backward()
    assert len(calls) == 1
