"""MaxViT and CoAtNet."""

import functools
from typing import List, Sequence, Tuple

from timm.models.maxxvit import (
    MaxxVit,
    MaxxVitBlock,
    MbConvBlock,
    PartitionAttention2d,
    PartitionAttentionCl,
    TransformerBlock2d,
)
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import DifferenceBranch, Layer
from dr2net_mm.reversible import Branch

from ..blocks import Chunk, block_branches, register_block
from ..family import HierarchicalFamily, register_family
from ..maps import map_branch
from ..program import Blocks, Layers, Program
from ..sizes import Size, check_own_size


@register_family(MaxxVit)
class MaxVitFamily(HierarchicalFamily):
    """timm's ``MaxxVit``; streams [B, C, H, W].

    The convolution or attention with which a stage begins halves the map: an ordinary
    layer. The rest of that block is in the stream.
    """

    first_feature = 1

    def own_size(self) -> Size:
        """Return the height and width that the model is built for."""
        return tuple(self.model.img_size)

    def check_size(self, size: Size) -> None:
        """Refuse a size that the model cannot take."""
        blocks = [m for m in self.model.modules() if isinstance(m, MaxxVitBlock)]
        windows = [b.attn_grid.partition_size for b in blocks]
        if not windows or tuple(size) == self.own_size():
            check_own_size(self.model, self.own_size(), size)
            return
        stride = self.model.feature_info[-1]['reduction']
        step = [stride * length for length in windows[0]]
        if any(length % part for length, part in zip(size, step)):
            raise ValueError(
                f'MaxxVit has windows of {windows[0][0]}x{windows[0][1]} in every '
                f'stage, so it takes images whose sides are multiples of {step[0]} and '
                f'{step[1]}, got {size[0]}x{size[1]}; pass '
                f'img_size=({size[0]}, {size[1]}), or resize them.'
            )

    def stage_items(self, stage: nn.Module, number: int) -> Program:
        """Return the layers and blocks of a stage."""
        width = self.model.feature_info[number + 1]['num_chs']
        items: Program = []
        for block in stage.blocks:
            if keeps_shape(block):
                items.append(Blocks([block], width))
            elif isinstance(block, MaxxVitBlock):
                behind = Blocks([block], width, dict(convolution=False))
                before = self.model.feature_info[number]['num_chs']
                items += [Layers(block.conv, [block.conv], before), behind]
            elif type(block) is TransformerBlock2d:
                behind = Blocks([block], width, dict(attention=False))
                modules = [block.shortcut, block.norm1, block.attn, block.ls1]
                attend = functools.partial(_widened, block)
                before = self.model.feature_info[number]['num_chs']
                items += [Layers(attend, modules, before), behind]
            else:
                before = self.model.feature_info[number]['num_chs']
                items.append(Layers(block, [block], before))
        return items


def keeps_shape(block: nn.Module) -> bool:
    """Whether a block adds to its input, neither pooled nor projected."""
    if isinstance(block, MaxxVitBlock):
        return keeps_shape(block.conv)
    return isinstance(getattr(block, 'shortcut', None), nn.Identity)


@register_block(MaxxVitBlock)
def maxvit_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, convolution: bool = True
) -> List[Branch]:
    """Branches of the convolution, of attention in windows, and of that on a grid.

    Args:
        block: The block.
        shape: Shape of the stream, [B, C, H, W].
        chunk: How many rows of the stream at a time.
        convolution: Whether its convolution is in the stream.
    """
    branches: List[Branch] = []
    if convolution:
        branches += block_branches(block.conv, shape, chunk, shape[1], {})
    for part in (block.attn_block, block.attn_grid):
        if part is not None:
            branches += _partition_branches(part, shape, chunk)
    return branches


def _partition_branches(
    part: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp1(ls1(attn(norm1 x))) and dp2(ls2(mlp(norm2 x))) of maps."""
    first: Tuple[Layer, ...] = (_to_last,)
    last: Tuple[Layer, ...] = (_to_first,)
    if type(part) is PartitionAttention2d:
        first = last = ()
    elif type(part) is not PartitionAttentionCl:
        function = functools.partial(_in_last, part)
        return [DifferenceBranch(part, function, chunk, shape[1:], shape[1])]
    seen = part.partition_size[0] * part.partition_size[1]
    heads = part.attn.num_heads
    # With a bias there is no kernel on a CPU that keeps no weights.
    weights = 3 * heads * seen
    return [
        map_branch(
            (*first, part.norm1, part._partition_attn, part.ls1, *last),
            part.drop_path1,
            shape,
            chunk,
            (part.norm1, part.attn, part.ls1),
            weights,
            2 * seen * shape[1],
        ),
        map_branch(
            (*first, part.norm2, part.mlp, part.ls2, *last),
            part.drop_path2,
            shape,
            chunk,
        ),
    ]


def _to_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _to_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _in_last(part: nn.Module, x: Tensor) -> Tensor:
    return _to_first(part(_to_last(x)))


@register_block(MbConvBlock)
def mbconv_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """One branch, the convolutions of the block."""
    early = () if block.se_early is None else (block.se_early,)
    late = () if block.se is None else (block.se,)
    layers = (
        block.pre_norm,
        block.down,
        block.conv1_1x1,
        block.norm1,
        block.conv2_kxk,
        *early,
        block.norm2,
        *late,
        block.conv3_1x1,
    )
    return [map_branch(layers, block.drop_path, shape, chunk)]


def _widened(block: nn.Module, x: Tensor) -> Tensor:
    """Map behind an attention that halves it, with its shortcut."""
    found = block.drop_path1(block.ls1(block.attn(block.norm1(x))))
    return block.shortcut(x) + found


@register_block(TransformerBlock2d)
def coatnet_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, attention: bool = True
) -> List[Branch]:
    """Branches dp1(ls1(attn(norm1 x))) and dp2(ls2(mlp(norm2 x))).

    Args:
        block: The block.
        shape: Shape of the stream, [B, C, H, W].
        chunk: How many rows of the stream at a time.
        attention: Whether its attention is in the stream.
    """
    feed = map_branch(
        (block.norm2, block.mlp, block.ls2), block.drop_path2, shape, chunk
    )
    if not attention:
        return [feed]
    seen = shape[2] * shape[3]
    return [
        map_branch(
            (block.norm1, block.attn, block.ls1),
            block.drop_path1,
            shape,
            chunk,
            weights=3 * block.attn.num_heads * seen,
            products=2 * seen * shape[1],
        ),
        feed,
    ]
