"""Twins-PCPVT and Twins-SVT."""

import functools
from typing import Dict, List, Sequence, Tuple

from timm.models.twins import Block, LocallyGroupedAttn, PosConv, Twins
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..program import Blocks, Feature, Layers, Program
from ..sizes import Size


@register_family(Twins)
class TwinsFamily(HierarchicalFamily):
    """timm's ``Twins``; streams are tokens [B, N, C].

    The convolution that gives positions, behind the first block of a stage, is a
    residual branch as well.
    """

    container = 'blocks'

    def stages(self) -> List[Sequence[nn.Module]]:
        """Return the blocks of each stage."""
        model = self.model
        return [
            [*([model.patch_embeds[i]] if i else []), blocks, model.pos_block[i]]
            for i, blocks in enumerate(model.blocks)
        ]

    def checkpointed_blocks(self) -> List[str]:
        """Return the names of the lists of blocks."""
        return [f'blocks.{i}' for i in range(len(self.model.blocks))]

    def program(self, size: Size) -> Program:
        """Stages, each with its embedding, a feature behind each."""
        model = self.model
        items: Program = []
        parts = zip(model.patch_embeds, model.pos_drops, model.blocks, model.pos_block)
        for number, (embed, drop, blocks, position) in enumerate(parts):
            grid: Dict[str, Tuple[int, int]] = {}
            width = model.feature_info[number]['num_chs']
            last = number == self.last_stage
            norms = self.output_norms() if self.output_norm and last else []
            items += [
                Layers(functools.partial(_tokens, embed, drop, grid), [embed]),
                Blocks([blocks[0], position, *blocks[1:]], width, grid),
                Layers(functools.partial(_map, norms, grid), norms),
                Feature(number, _same),
            ]
        return items


def _tokens(embed: nn.Module, drop: nn.Module, grid: dict, x: Tensor) -> Tensor:
    x, size = embed(x)
    grid['size'] = tuple(size)
    return drop(x)


def _map(norms: Sequence[nn.Module], grid: dict, x: Tensor) -> Tensor:
    for norm in norms:
        x = norm(x)
    x = x.reshape(x.shape[0], *grid['size'], -1)
    return x.permute(0, 3, 1, 2).contiguous()


def _same(x: Tensor) -> Tensor:
    return x


@register_block(Block)
def twins_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, size: Tuple[int, int]
) -> List[Branch]:
    """Branches dp1(attn(norm1 x, size)) and dp2(mlp(norm2 x))."""
    attention = block.attn
    local = isinstance(attention, LocallyGroupedAttn)
    return [
        attention_branch(
            (block.norm1, functools.partial(attention, size=size)),
            attention,
            block.drop_path1,
            shape,
            chunk,
            seen=attention.ws**2 if local else None,
        ),
        LayersBranch((block.norm2, block.mlp), block.drop_path2, chunk),
    ]


@register_block(PosConv)
def position_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, size: Tuple[int, int]
) -> List[Branch]:
    """One branch: the convolution of the map of tokens."""
    convolve = functools.partial(_convolved, block.proj, size)
    return [
        LayersBranch(
            (convolve,), nn.Identity(), chunk, shape[1:], modules=(block.proj,)
        )
    ]


def _convolved(layer: nn.Module, size: Tuple[int, int], x: Tensor) -> Tensor:
    maps = x.transpose(1, 2).view(x.shape[0], -1, *size)
    return layer(maps).flatten(2).transpose(1, 2)
