"""Modes stay on for what is computed again within ``torch.autograd.grad``."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dr2net_mm.analysis.memory.cuda_autocast import CudaAutocast
from dr2net_mm.analysis.memory.meta_attention import FusedMetaAttention


def attention(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x)


def test_a_checkpoint_meets_the_kernels_of_the_forward_pass() -> None:
    x = torch.empty(1, 2, 64, 8, device='meta', requires_grad=True)
    with FusedMetaAttention():
        out = checkpoint(attention, x, use_reentrant=False)
        # torch compares what both evaluations keep for the backward pass.
        (gradient,) = torch.autograd.grad([out], [x], [torch.empty_like(out)])
    assert gradient.shape == x.shape


def test_it_casts_as_the_forward_pass_did() -> None:
    linear = nn.Linear(4, 4, device='meta')
    seen = []

    def branch(x: Tensor) -> Tensor:
        seen.append(linear(x).dtype)
        return linear(x)

    x = torch.empty(2, 4, device='meta', requires_grad=True)
    with FusedMetaAttention(), CudaAutocast():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            out = checkpoint(branch, x, use_reentrant=False).float()
        torch.autograd.grad(out, [*linear.parameters()], torch.empty_like(out))
    assert seen == [torch.bfloat16] * 2


def test_gradients_are_those_of_torch() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    unused = torch.randn(2, requires_grad=True)
    expected = torch.autograd.grad(x.sin().sum(), [x])[0]
    with FusedMetaAttention():
        found, missing = torch.autograd.grad(
            x.sin().sum(), [x, unused], allow_unused=True
        )
    assert torch.equal(found, expected) and missing is None


def test_a_graph_that_is_kept_is_refused() -> None:
    x = torch.randn(3, requires_grad=True)
    with FusedMetaAttention(), pytest.raises(NotImplementedError, match='create_graph'):
        torch.autograd.grad(x.sin().sum(), [x], create_graph=True)
