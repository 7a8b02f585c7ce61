"""Toy residual branches and a way to run a stage of them."""

from typing import Callable, List, NamedTuple, Optional

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.reversible import DualResidualOptions, DualResidualStage, FunctionBranch


class Mlp(nn.Module):
    """Pre-norm feed-forward branch on [..., C]."""

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 2 * channels)
        self.fc2 = nn.Linear(2 * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(F.gelu(self.fc1(self.norm(x)))))


class Result(NamedTuple):
    """Output of a stage and the gradients of its input and parameters."""

    output: Tensor
    gradients: List[Optional[Tensor]]


def run(
    branches: nn.ModuleList,
    x: Tensor,
    alpha: float = 1.0,
    beta: float = 0.1,
    autocast: bool = False,
    input_gradient: bool = True,
    **options,
) -> Result:
    """Forward and backward of a stage, from the same random state every time."""
    stage = DualResidualStage(
        'toy stage', DualResidualOptions(alpha=alpha, beta=beta, **options)
    )
    branches.zero_grad()
    x = x.clone().requires_grad_(input_gradient)
    torch.manual_seed(3)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        (output,) = stage(x, [FunctionBranch(b) for b in branches], alpha, beta)
    output.to(torch.promote_types(output.dtype, torch.float32)).sin().sum().backward()
    gradients = [x.grad] + [parameter.grad for parameter in branches.parameters()]
    return Result(output.detach(), gradients)


@pytest.fixture
def make_mlps() -> Callable[..., nn.ModuleList]:
    def make(depth: int, channels: int = 8, dropout: float = 0.0) -> nn.ModuleList:
        torch.manual_seed(0)
        return nn.ModuleList(Mlp(channels, dropout) for _ in range(depth))

    return make


@pytest.fixture
def run_stage() -> Callable[..., Result]:
    return run
