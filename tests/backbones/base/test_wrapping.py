"""Wrappers that are refused without a process group, and torch.compile, which works."""

import pytest
import torch
from torch import nn
from torch.nn.utils import weight_norm

from dr2net_mm.backbones.base.wrapping import UnsupportedWrapperError, is_sharded


@pytest.fixture
def small(swin):
    def build(**changes):
        return swin.build(depths=(2, 2), num_heads=(1, 2), strides=(4, 2),
                          out_indices=(0, 1), embed_dims=8, **changes)  # fmt: skip

    return build


@pytest.mark.parametrize('backprop', ['reversible', 'stored'])
def test_a_replica_of_data_parallel_is_refused(swin, small, backprop):
    model = small(dual_residual=dict(backprop=backprop))
    # What DataParallel makes for each device; it needs two GPUs to do so itself.
    replica = model._replicate_for_data_parallel()
    for context in (torch.enable_grad(), torch.no_grad()):
        with context, pytest.raises(UnsupportedWrapperError) as caught:
            replica(swin.image(32, 32))
        for word in ('Dr2SwinTransformer', 'DataParallel', 'dist_train.sh'):
            assert word in str(caught.value)
    model(swin.image(32, 32))


def test_slices_of_parameters_are_refused_where_they_have_to_be_reversed(swin, small):
    for backprop in ('stored', 'reversible'):
        model = small(dual_residual=dict(backprop=backprop))
        assert not is_sharded(model)
        # What ZeRO stage 3 leaves on a parameter of which it keeps a slice.
        model.stages[1].blocks[0].norm1.weight.ds_tensor = torch.zeros(4)
        assert is_sharded(model)
        if backprop == 'stored':
            model(swin.image(32, 32))
            continue
        with pytest.raises(UnsupportedWrapperError, match=r'dict\(stage=2\)'):
            model(swin.image(32, 32))


def test_tensors_in_place_of_parameters_are_refused(swin, small):
    model = small()
    norm = model.stages[0].blocks[1].norm2
    weight, bias = norm.weight, norm.bias
    del norm.weight, norm.bias
    norm.weight, norm.bias = weight * 1, bias * 1
    with pytest.raises(UnsupportedWrapperError, match=r'stages\.0\.blocks\.1\.norm2'):
        model(swin.image(32, 32))


def test_a_weight_that_is_computed_from_parameters_has_its_gradients(swin, small):
    steps = []
    for backprop in ('reversible', 'stored'):
        model = small(dual_residual=dict(backprop=backprop))
        for block in model.stages[0].blocks:
            weight_norm(block.attn.w_msa.proj)
        steps.append(swin.step(model, model, swin.image(32, 32)))
    swin.assert_bitwise_equal(*steps)
    assert steps[0].gradients['stages.0.blocks.1.attn.w_msa.proj.weight_g'].any()


class WithHead(nn.Module):
    """A backbone between layers that a compiler can take."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> list:
        return [out.relu() * 2 for out in self.backbone(image * self.scale)]


@pytest.mark.filterwarnings('ignore')
def test_a_compiled_model_has_the_same_gradients(swin, small):
    image = swin.image(32, 32)
    model = WithHead(small(drop_path_rate=0.3)).train()
    plain = swin.step(model, model, image)
    compiled = torch.compile(model, backend='aot_eager')
    for beta in (0.1, 0.3):
        model.backbone.set_coefficients(1.0, beta)
        plain = swin.step(model, model, image)
        swin.assert_bitwise_equal(swin.step(compiled, model, image), plain)
