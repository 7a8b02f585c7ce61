"""Swin, Swin V2 and Swin V2-CR."""

import functools
from typing import List, Sequence

from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2, SwinTransformerV2Block
from timm.models.swin_transformer_v2_cr import (
    SwinTransformerV2Cr,
    SwinTransformerV2CrBlock,
)
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.backbones.branches.shifted_windows import ShiftedWindowBranch
from dr2net_mm.reversible import Branch

from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..program import Layers


@register_family(SwinTransformer, SwinTransformerV2)
class SwinFamily(HierarchicalFamily):
    """timm's ``SwinTransformer`` and ``SwinTransformerV2``; streams [B, H, W, C]."""

    container = 'layers'

    def embed(self, x: Tensor) -> Tensor:
        """Compute the stream from images, before the blocks."""
        return self.model.patch_embed(x)

    def feature_map(self, x: Tensor) -> Tensor:
        """Turn a stream into a feature map."""
        return x.permute(0, 3, 1, 2).contiguous()


@register_family(SwinTransformerV2Cr)
class SwinV2CrFamily(SwinFamily):
    """timm's ``SwinTransformerV2Cr``, whose stages take and give [B, C, H, W]."""

    container = 'stages'
    # timm has none for features.
    norms = ()

    def embed(self, x: Tensor) -> Tensor:
        """Compute the stream from images, before the blocks."""
        return self.model.patch_embed(x).permute(0, 2, 3, 1)

    def before_blocks(self, stage: nn.Module) -> List[Layers]:
        """Return the layers before the blocks of a stage."""
        layer = stage.downsample
        return [] if isinstance(layer, nn.Identity) else [Layers(layer, [layer])]


def _window_branch(
    before: Sequence[nn.Module],
    block: nn.Module,
    whole: functools.partial,
    after: Sequence[nn.Module],
    shape: Sequence[int],
    chunk: Chunk,
) -> ShiftedWindowBranch:
    return ShiftedWindowBranch(
        before,
        block.attn,
        after,
        whole,
        block.drop_path1,
        shape[1:-1],
        block.window_size,
        block.shift_size,
        chunk,
    )


@register_block(SwinTransformerBlock)
def swin_branches(block: nn.Module, shape: Sequence[int], chunk: Chunk) -> List[Branch]:
    """Branches dp1(attn(norm1 x)) in windows and dp2(mlp(norm2 x))."""
    return [
        _window_branch((block.norm1,), block, block._attn, (), shape, chunk),
        LayersBranch((block.norm2, block.mlp), block.drop_path2, chunk),
    ]


@register_block(SwinTransformerV2Block)
def swin_v2_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp1(norm1(attn x)) in windows and dp2(norm2(mlp x))."""
    return [
        _window_branch((), block, block._attn, (block.norm1,), shape, chunk),
        LayersBranch((block.mlp, block.norm2), block.drop_path2, chunk),
    ]


@register_block(SwinTransformerV2CrBlock)
def swin_v2_cr_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Those of Swin V2; where the block norms its result, norm3(x) - x as a third."""
    whole = block._shifted_window_attn
    branches: List[Branch] = [
        _window_branch((), block, whole, (block.norm1,), shape, chunk),
        LayersBranch((block.mlp, block.norm2), block.drop_path2, chunk),
    ]
    if not isinstance(block.norm3, nn.Identity):
        change = functools.partial(_change, block.norm3)
        branches.append(
            LayersBranch((change,), nn.Identity(), chunk, modules=(block.norm3,))
        )
    return branches


def _change(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x) - x
