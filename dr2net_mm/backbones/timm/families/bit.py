"""BiT and other pre-activation ResNets with GroupNorm."""

from typing import List, Sequence

from timm.models.resnetv2 import PreActBottleneck, ResNetV2
from torch import nn

from dr2net_mm.reversible import Branch

from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..maps import map_branch
from ..program import Blocks, Feature, Layers, Program


@register_family(ResNetV2)
class BitFamily(HierarchicalFamily):
    """timm's ``ResNetV2``; streams [B, C, H, W].

    The first block of a stage has a convolution in its shortcut: an ordinary layer.
    """

    first_feature = 1

    def first_items(self) -> Program:
        """Return the layers before the first stage."""
        items: Program = []
        for i, layer in enumerate(self.model.stem):
            items.append(Layers(layer, [layer]))
            if i == self.model.stem_feat_idx:
                items.append(Feature(0, nn.Identity()))
        return items

    def stage_items(self, stage: nn.Module, number: int) -> Program:
        """Return the layers and blocks of a stage."""
        width = self.model.feature_info[number + 1]['num_chs']
        return [
            Blocks([block], width)
            if block.downsample is None
            else Layers(block, [block], block.conv1.in_channels)
            for block in stage.blocks
        ]


@register_block(PreActBottleneck)
def bit_branches(block: nn.Module, shape: Sequence[int], chunk: Chunk) -> List[Branch]:
    """One branch dp(conv3(norm3(conv2(norm2(conv1(norm1 x))))))."""
    layers = (
        block.norm1,
        block.conv1,
        block.norm2,
        block.conv2,
        block.norm3,
        block.conv3,
    )
    return [map_branch(layers, block.drop_path, shape, chunk)]
