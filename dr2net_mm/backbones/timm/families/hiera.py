"""Hiera."""

import functools
from typing import List, Sequence

import torch
from timm.models.hiera import Hiera, HieraBlock
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import Family, register_family
from ..program import Blocks, Feature, Layers, Program
from ..sizes import Size, check_own_size


@register_family(Hiera)
class HieraFamily(Family):
    """timm's ``Hiera``; streams are tokens [B, N, C] in the order of its windows.

    The attention of a stage's first block pools and widens its tokens: an ordinary
    layer.
    """

    # timm has none for features.
    norms = ()

    def feature_count(self) -> int:
        """Return the number of feature maps."""
        return len(self.model.stage_ends)

    def own_size(self) -> Size:
        """Return the height and width that the model is built for."""
        model = self.model
        return tuple(
            n * step for n, step in zip(model.tokens_spatial_shape, model.patch_stride)
        )

    def check_size(self, size: Size) -> None:
        """Refuse a size that the model cannot take."""
        check_own_size(self.model, self.own_size(), size)

    def stages(self) -> List[Sequence[nn.Module]]:
        """Return the blocks of each stage."""
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
                # Its feed-forward part is in the stream.
                parts = (block.norm1, block.proj, block.attn, block.ls1)
                modules = [part for part in parts if part is not None]
                attend = functools.partial(_widened, block)
                items.append(Layers(attend, modules, block.dim))
            kept = dict(attention=not block.do_expand)
            items.append(Blocks([block], block.dim_out, kept))
            if i in ends:
                function = functools.partial(self.feature_map, i)
                items.append(Feature(ends.index(i), function))
        return items

    def feature_map(self, block: int, x: Tensor) -> Tensor:
        """Feature map [B, C, H, W] of the tokens behind a block."""
        return self.model.reroll(x, block).permute(0, 3, 1, 2)


def _widened(block: nn.Module, x: Tensor) -> Tensor:
    """Tokens behind an attention that pools and widens, with their shortcut."""
    normed = block.norm1(x)
    if block.proj is not None:
        x = _pooled(block, block.proj(normed)).amax(dim=1)
    else:
        groups = _pooled(block, x)
        x = torch.cat([groups.amax(dim=1), groups.mean(dim=1)], dim=-1)
    return x + block.drop_path1(block.ls1(block.attn(normed)))


def _pooled(block: nn.Module, x: Tensor) -> Tensor:
    return x.view(x.shape[0], block.attn.q_stride, -1, x.shape[-1])


@register_block(HieraBlock)
def hiera_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, attention: bool = True
) -> List[Branch]:
    """Branches dp1(ls1(attn(norm1 x))) and dp2(ls2(mlp(norm2 x))).

    Args:
        block: The block.
        shape: Shape of the stream, [B, N, C].
        chunk: How many tokens at a time.
        attention: Whether its attention is in the stream.
    """
    feed = LayersBranch((block.norm2, block.mlp, block.ls2), block.drop_path2, chunk)
    return [_attention(block, shape, chunk), feed] if attention else [feed]


def _attention(block: nn.Module, shape: Sequence[int], chunk: Chunk) -> Branch:
    attention = block.attn
    seen = attention.window_size if attention.use_mask_unit_attn else None
    layers = (block.norm1, attention, block.ls1)
    return attention_branch(
        layers, attention, block.drop_path1, shape, chunk, seen=seen
    )
