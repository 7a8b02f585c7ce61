"""A frozen ViT computes what mmaction's does and trains what it should."""

import pytest
import torch
from mmaction.models.backbones.vit_mae import VisionTransformer

from dr2net_mm.backbones import FrozenVisionTransformer

TINY = dict(
    img_size=8, patch_size=4, embed_dims=16, depth=3, num_heads=2, num_frames=4,
    drop_path_rate=0.5,
)  # fmt: skip


def with_gradients(model):
    names = (name for name, p in model.named_parameters() if p.requires_grad)
    return {'.'.join(name.split('.')[:2]) for name in names}


@pytest.fixture
def clip():
    return torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_it_computes_what_mmaction_computes(clip):
    plain = VisionTransformer(**TINY).eval()
    frozen = FrozenVisionTransformer(**TINY).eval()
    frozen.load_state_dict(plain.state_dict())
    assert torch.equal(frozen(clip), plain(clip))


@pytest.mark.parametrize(
    ('stages', 'expected'),
    [
        (None, {'fc_norm.weight', 'fc_norm.bias'}),
        (3, {'fc_norm.weight', 'fc_norm.bias'}),
        (2, {'blocks.2', 'fc_norm.weight', 'fc_norm.bias'}),
        (0, {'blocks.0', 'blocks.1', 'blocks.2', 'fc_norm.weight', 'fc_norm.bias'}),
    ],
)
def test_only_what_is_behind_the_frozen_blocks_needs_gradients(stages, expected):
    assert with_gradients(FrozenVisionTransformer(frozen_stages=stages, **TINY)) == (
        expected
    )


def test_minus_one_freezes_nothing():
    model = FrozenVisionTransformer(frozen_stages=-1, **TINY).train()
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_learned_positions_are_frozen_with_the_embedding():
    model = FrozenVisionTransformer(use_learnable_pos_emb=True, **TINY)
    assert not model.pos_embed.requires_grad


def test_frozen_blocks_drop_no_path_while_the_rest_trains(clip):
    model = FrozenVisionTransformer(frozen_stages=2, **TINY).train()
    assert [block.training for block in model.blocks] == [False, False, True]
    assert model.training and model.fc_norm.training
    frozen = FrozenVisionTransformer(**TINY).train()
    assert torch.equal(frozen(clip), frozen(clip))


def test_no_activation_of_a_frozen_block_is_kept(clip):
    model = FrozenVisionTransformer(**TINY).train()
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(clip).sum().backward()
    # The pooled features [2, 16] of the norm, not a token.
    assert sum(kept) < 8 * 16 * 2
    assert model.fc_norm.weight.grad is not None


@pytest.mark.parametrize('stages', [-2, 4])
def test_a_number_of_blocks_that_is_not_there_is_refused(stages):
    with pytest.raises(ValueError, match=f'frozen_stages is {stages}; .* 3 blocks'):
        FrozenVisionTransformer(frozen_stages=stages, **TINY)
