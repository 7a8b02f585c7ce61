"""The arguments of the backbone, and one clear line for those that do not fit."""

import copy
import pickle
from typing import Any, Dict, List

import pytest
import torch
from mmengine.registry import MODELS
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from dr2net_mm.backbones import Dr2TimmBackbone
from dr2net_mm.backbones.branches.layers import DifferenceBranch
from dr2net_mm.backbones.timm.blocks import BLOCKS, block_branches, register_block
from dr2net_mm.backbones.timm.family import FAMILIES
from dr2net_mm.backbones.timm.model import family_of
from dr2net_mm.reversible import Branch, FunctionBranch

NAME = 'vit_small_patch16_224'
SMALL: Dict[str, Any] = dict(
    img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=2
)
SWIN: Dict[str, Any] = dict(
    embed_dim=16, depths=(2, 2), num_heads=(2, 2), window_size=4, img_size=64
)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def small(**kwargs) -> Dr2TimmBackbone:
    torch.manual_seed(0)
    return Dr2TimmBackbone(NAME, **{**SMALL, **kwargs})


def test_a_config_builds_it_by_type() -> None:
    model = MODELS.build(dict(type='Dr2TimmBackbone', model_name=NAME, **SMALL))
    assert isinstance(model, Dr2TimmBackbone)


@pytest.mark.parametrize(
    'indices, taken', [(None, (2,)), (2, (1, 2)), ([-1, 0], (0, 2)), ((1,), (1,))]
)
def test_out_indices_are_counted_as_timm_does(indices, taken, images) -> None:
    model = small(out_indices=indices)
    assert model.out_indices == taken
    assert len(model(images)) == len(taken)
    # Blocks behind the last feature map are gone.
    assert len(model.blocks) == taken[-1] + 1


@pytest.mark.parametrize('indices', [(3,), (-4,), 4, 0, (), (1, 1)])
def test_out_indices_out_of_range_are_refused(indices) -> None:
    with pytest.raises(ValueError, match='has 3 feature maps; out_indices takes'):
        small(out_indices=indices)


def test_a_single_output_is_a_tensor(images) -> None:
    model, several = small(single_output=True), small()
    assert torch.equal(model(images), several(images)[0])
    with pytest.raises(ValueError, match=r'single_output=True with 2 feature maps of'):
        small(single_output=True, out_indices=2)


def test_an_unknown_model_is_refused_with_near_names() -> None:
    with pytest.raises(ValueError, match="'vit_smal_patch16_224'; nearest: vit_small"):
        Dr2TimmBackbone('vit_smal_patch16_224')


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'imgsize'"):
        small(imgsize=64)


@pytest.mark.parametrize('frozen', [-2, 4])
def test_frozen_stages_out_of_range_are_refused(frozen: int) -> None:
    with pytest.raises(ValueError, match=f'frozen_stages is {frozen}; .* to 3'):
        small(frozen_stages=frozen)


def test_a_model_whose_forward_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match='resnet18 is a ResNet, whose forward pass'):
        Dr2TimmBackbone('resnet18')


def test_a_subclass_with_a_forward_of_its_own_is_refused_by_name() -> None:
    class Custom(VisionTransformer):
        pass

    model = Custom(**SMALL)
    with pytest.raises(ValueError, match='Custom, .*: it extends VisionTransformer'):
        family_of('custom', model, False)
    assert VisionTransformer in FAMILIES


def test_batch_norms_are_refused_unless_they_stay_in_evaluation_mode() -> None:
    with pytest.raises(ValueError, match=r'BatchNorm layers .* pass norm_eval=True'):
        Dr2TimmBackbone('tiny_maxvit')
    model = Dr2TimmBackbone('tiny_maxvit', norm_eval=True).train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)


def test_dropped_patches_are_refused() -> None:
    with pytest.raises(ValueError, match='patch_drop_rate=0.5 would leave holes'):
        small(patch_drop_rate=0.5)


@pytest.mark.parametrize(
    'name, arguments, own, remedy',
    [
        (NAME, SMALL, 32, 'pass dynamic_img_size=True, or img_size=(64, 96)'),
        ('beit_base_patch16_224', SMALL, 32, 'pass img_size=(64, 96), or resize'),
        ('swin_tiny_patch4_window7_224', SWIN, 64, 'dynamic_img_size=True'),
        ('tiny_mixer', {}, 32, 'pass img_size=(64, 96), or resize'),
        ('tiny_mvit', dict(img_size=64), 64, 'pass img_size=(64, 96), or resize'),
        ('hiera_tiny_224', dict(stages=(1, 1, 1, 1), embed_dim=16), 224, 'img_size'),
    ],
)
def test_another_size_is_refused_with_the_argument_that_allows_it(
    name: str, arguments: dict, own: int, remedy: str
) -> None:
    model = Dr2TimmBackbone(name, **arguments)
    with pytest.raises(ValueError) as error:
        model(torch.zeros(1, 3, 64, 96))
    message = str(error.value)
    assert f'{own}x{own}, got 64x96' in message
    assert remedy in message


@pytest.mark.parametrize(
    'name, arguments',
    [
        (NAME, dict(SMALL, dynamic_img_size=True)),
        ('vit_small_patch16_dinov3', SMALL),
        ('swin_tiny_patch4_window7_224', dict(SWIN, strict_img_size=False)),
        ('tiny_pvt', {}),
    ],
)
def test_sizes_that_the_arguments_allow_are_taken(name: str, arguments: dict) -> None:
    model = Dr2TimmBackbone(name, **arguments)
    *_, last = model(torch.zeros(1, 3, 64, 96))
    assert [64 // last.shape[2], 96 // last.shape[3]] == [model.out_strides[-1]] * 2


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r'takes images \[B, 3, H, W\], got shape'):
        small()(torch.zeros(3, 32, 32))


def test_frozen_stages_take_no_gradient_and_stay_in_evaluation_mode(images) -> None:
    model = small(frozen_stages=1, drop_path_rate=0.2, out_indices=(0, 2))
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    # The last norm is kept for its name alone.
    kinds = ('cls_token', 'pos_embed', 'patch_embed.', 'blocks.0.', 'norm.')
    assert all(name.startswith(kinds) for name in frozen)
    assert all(name.startswith(('blocks.1.', 'blocks.2.')) for name in trained)
    assert not any(m.training for m in model.train().blocks[0].modules())
    first, last = model(images)
    assert not first.requires_grad
    last.sum().backward()
    assert all(model.get_parameter(name).grad is not None for name in trained)


@pytest.mark.parametrize('chunk', [1, 40])
@pytest.mark.parametrize('name', ['swin', 'swinv2', 'swinv2_cr'])
def test_groups_of_windows_give_what_whole_grids_give(name: str, chunk: int) -> None:
    full = {
        'swin': 'swin_tiny_patch4_window7_224',
        'swinv2': 'swinv2_tiny_window8_256',
        'swinv2_cr': 'swinv2_cr_tiny_ns_224',
    }[name]
    # 11 x 9 tokens in windows of 4: padding, shifts, and both at once.
    arguments = dict(SWIN, strict_img_size=False, drop_path_rate=0.0)
    images = torch.randn(2, 3, 44, 36, generator=torch.Generator().manual_seed(1))
    whole, cut = (
        # Swin V2-CR has a dropout that nothing turns off in training mode.
        Dr2TimmBackbone(full, dual_residual=dict(chunk=c), **arguments).eval()
        for c in (None, chunk)
    )
    cut.load_state_dict(whole.state_dict())
    found, expected = (gradients(model, images) for model in (cut, whole))
    for a, b in zip(found, expected):
        assert torch.allclose(
            a, b, rtol=1e-3, atol=1e-3 * float(b.detach().abs().max())
        )


def gradients(model: nn.Module, images: Tensor) -> List[Tensor]:
    outputs = model(images)
    sum(out.square().sum() for out in outputs).backward()
    return [*outputs, *(p.grad for p in model.parameters() if p.requires_grad)]


@pytest.mark.parametrize('chunk', [1, 40])
def test_pieces_of_samples_give_what_whole_batches_give(chunk: int, images) -> None:
    whole, cut = (small(dual_residual=dict(chunk=c)) for c in (None, chunk))
    found, expected = (gradients(model, images) for model in (cut, whole))
    for a, b in zip(found, expected):
        assert torch.allclose(
            a, b, rtol=1e-3, atol=1e-3 * float(b.detach().abs().max())
        )


def test_a_block_without_branches_of_its_own_is_one_difference(images) -> None:
    class Custom(Block):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    block = Custom(32, 2)
    (branch,) = block_branches(block, (2, 16, 32), None, 32, {})
    assert isinstance(branch, DifferenceBranch)
    x = torch.randn(2, 16, 32)
    assert torch.allclose(branch(x, branch.pieces(x)[0], None) + x, block(x), atol=1e-5)


def test_users_register_blocks_of_their_own() -> None:
    class Doubling(nn.Linear):
        pass

    @register_block(Doubling)
    def branches(block: nn.Module, shape: Any, chunk: Any) -> List[Branch]:
        return [FunctionBranch(block)]

    try:
        (branch,) = block_branches(Doubling(4, 4), (2, 3, 4), None, 4, {})
        assert isinstance(branch, FunctionBranch)
    finally:
        BLOCKS.pop(Doubling)


def test_copies_are_whole(images) -> None:
    model = small()
    expected = model(images)[0]
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied(images)[0], expected)
        assert copied.timm_model._modules is copied._modules
        assert copied.timm_model is not model.timm_model


def test_the_flag_of_timms_model_follows_the_mode() -> None:
    model = small()
    assert not model.eval().timm_model.training
    assert model.train().timm_model.training
