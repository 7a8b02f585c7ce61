"""FocalNet."""

from typing import List, Sequence

from timm.models.focalnet import FocalNet, FocalNetBlock
from torch import nn

from dr2net_mm.reversible import Branch

from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..maps import map_branch


@register_family(FocalNet)
class FocalNetFamily(HierarchicalFamily):
    """timm's ``FocalNet``; streams [B, H, W, C], as its norms leave maps in memory."""

    container = 'layers'
    channels_last = True


@register_block(FocalNetBlock)
def focalnet_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp1(ls1(norm1_post(modulation(norm1 x)))), and the same of the MLP."""
    modulation = (block.norm1, block.modulation, block.norm1_post, block.ls1)
    mlp = (block.norm2, block.mlp, block.norm2_post, block.ls2)
    return [
        map_branch(modulation, block.drop_path1, shape, chunk),
        map_branch(mlp, block.drop_path2, shape, chunk),
    ]
