"""Hiera."""

import functools
from typing import List, Sequence

from timm.models.hiera import Hiera, HieraBlock
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import Family, Size, check_own_size, register_family
from ..program import Blocks, Feature, Layers, Program


@register_family(Hiera)
class HieraFamily(Family):
    """timm's ``Hiera``; streams are tokens [B, N, C] in the order of its windows.

    The first block of a stage pools and widens its tokens: an ordinary layer.
    """

    # timm has none for features.
    norms = ()

    def feature_count(self) -> int:
        return len(self.model.stage_ends)

    def own_size(self) -> Size:
        model = self.model
        return tuple(
            n * step for n, step in zip(model.tokens_spatial_shape, model.patch_stride)
        )

    def check_size(self, size: Size) -> None:
        check_own_size(self, size)

    def stages(self) -> List[Sequence[nn.Module]]:
        starts = [0, *(end + 1 for end in self.model.stage_ends)]
        return [list(self.model.blocks[a:b]) for a, b in zip(starts, starts[1:])]

    def embed(self, x: Tensor) -> Tensor:
        """Tokens of images [B, 3, H, W]."""
        model = self.model
        return model.unroll(model._pos_embed(model.patch_embed(x)))

    def program(self, size: Size) -> Program:
        """Embedding and blocks, a feature behind the last block of each stage."""
        ends = list(self.model.stage_ends)
        items: Program = [Layers(self.embed)]
        for i, block in enumerate(self.model.blocks):
            if block.do_expand:
                items.append(Layers(block, [block]))
            else:
                items.append(Blocks([block], block.dim_out))
            if i in ends:
                function = functools.partial(self.feature_map, i)
                items.append(Feature(ends.index(i), function))
        return items

    def feature_map(self, block: int, x: Tensor) -> Tensor:
        """Feature map [B, C, H, W] of the tokens behind a block."""
        return self.model.reroll(x, block).permute(0, 3, 1, 2)


@register_block(HieraBlock)
def hiera_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp1(ls1(attn(norm1 x))) and dp2(ls2(mlp(norm2 x)))."""
    attention = block.attn
    seen = attention.window_size if attention.use_mask_unit_attn else None
    return [
        attention_branch(
            (block.norm1, attention, block.ls1),
            attention,
            block.drop_path1,
            shape,
            chunk,
            seen=seen,
        ),
        LayersBranch((block.norm2, block.mlp, block.ls2), block.drop_path2, chunk),
    ]
