"""Attention on meta tensors is counted as a GPU does it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dr2net_mm.analysis.memory.meta_attention import FusedMetaAttention
from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.backbones import Dr2TimmBackbone
from dr2net_mm.backbones.timm.conventional import ConventionalTimmBackbone

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


def test_vit_b_at_1024_takes_less_than_two_fifths_of_checkpointing() -> None:
    peaks = {}
    arguments = dict(model_name='vit_base_patch16_224', img_size=1024)
    for kind, cls, more in (
        ('checkpointed', ConventionalTimmBackbone, dict(with_cp=True)),
        ('dual', Dr2TimmBackbone, {}),
    ):
        with torch.device('meta'):
            model = cls(**arguments, **more)
        images = torch.empty(2, 3, 1024, 1024, device='meta')
        peaks[kind] = measure_step(model.to('meta').train(), images).peak_bytes
    assert peaks['dual'] < 0.4 * peaks['checkpointed']
