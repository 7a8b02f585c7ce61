"""CUDA's autocast rules on meta tensors."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dr2net_mm.analysis.memory.cuda_autocast import CudaAutocast


def meta(*shape, dtype=torch.float32):
    return torch.empty(*shape, device='meta', dtype=dtype)


def test_products_run_in_low_precision_and_softmax_and_norms_in_float32():
    linear, norm = nn.Linear(4, 4, device='meta'), nn.LayerNorm(4, device='meta')
    with CudaAutocast(), torch.autocast('cpu', dtype=torch.bfloat16):
        product = linear(meta(2, 4))
        assert product.dtype == torch.bfloat16
        assert (product @ meta(4, 4)).dtype == torch.bfloat16
        assert product.softmax(-1).dtype == torch.float32
        assert nn.Softmax(dim=-1)(product).dtype == torch.float32
        assert norm(product).dtype == torch.float32
        assert nn.functional.gelu(product).dtype == torch.bfloat16


def test_nothing_is_cast_where_autocast_is_off():
    linear = nn.Linear(4, 4, device='meta')
    with CudaAutocast():
        assert linear(meta(2, 4)).dtype == torch.float32
        with torch.autocast('cpu', dtype=torch.bfloat16):
            with torch.autocast('cpu', enabled=False):
                assert linear(meta(2, 4)).dtype == torch.float32


def test_a_weight_is_cast_once_while_the_cache_is_on():
    linear = nn.Linear(4, 4, device='meta')
    rules = CudaAutocast()
    with rules, torch.autocast('cpu', dtype=torch.bfloat16):
        linear(meta(2, 4))
        linear(meta(2, 4))
        assert len(rules._cached_weights) == 2
        rules.drop_cache()
        linear(meta(2, 4))
        assert not rules._cached_weights


def test_gradients_of_cast_weights_arrive_in_float32():
    linear = nn.Linear(4, 4, device='meta')
    with CudaAutocast(), torch.autocast('cpu', dtype=torch.bfloat16):
        linear(meta(2, 4)).sum().backward()
    assert linear.weight.grad.dtype == torch.float32


@pytest.mark.parametrize('use_reentrant', [True, False])
def test_a_recomputation_in_the_backward_obeys_the_rules_as_well(use_reentrant):
    linear = nn.Linear(4, 4, device='meta')
    seen = []

    def branch(x):
        seen.append(linear(x).dtype)
        return linear(x)

    x = meta(2, 4).requires_grad_()
    with CudaAutocast() as rules:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            loss = checkpoint(branch, x, use_reentrant=use_reentrant).sum()
        rules.drop_cache()
        rules.backward([loss])
    assert seen == [torch.bfloat16] * 2
