"""Attention on meta tensors is counted as a GPU does it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dr2net_mm.analysis.memory.meta_attention import FusedMetaAttention
from dr2net_mm.analysis.memory.step_memory import measure_step

HEADS, TOKENS, WIDTH = 2, 512, 8


class Attention(nn.Module):
    def __init__(self, biased: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(HEADS * WIDTH, 3 * HEADS * WIDTH)
        self.bias = nn.Parameter(torch.zeros(1, HEADS, 1, 1)) if biased else None

    def forward(self, x):
        q, k, v = self.qkv(x).view(1, TOKENS, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        bias = self.bias
        if bias is not None:
            bias = bias.expand(1, HEADS, TOKENS, TOKENS)
        return F.scaled_dot_product_attention(q, k, v, bias)


@pytest.mark.parametrize('biased', [False, True])
def test_no_matrix_of_weights_is_kept(biased: bool) -> None:
    model = Attention(biased).to('meta')
    x = torch.empty(1, TOKENS, HEADS * WIDTH, device='meta')
    memory = measure_step(model, x)
    assert memory.kept_bytes < 4 * TOKENS * TOKENS


@pytest.mark.parametrize('biased', [False, True])
def test_real_tensors_go_their_own_way(biased: bool) -> None:
    model = Attention(biased)
    x = torch.randn(1, TOKENS, HEADS * WIDTH)
    with FusedMetaAttention():
        found = model(x)
    assert torch.equal(found, model(x))
