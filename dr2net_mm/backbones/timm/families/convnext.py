"""ConvNeXt and ConvNeXt V2."""

import functools
from typing import List, Sequence

from timm.models.convnext import ConvNeXt, ConvNeXtBlock
from torch import Tensor, nn

from dr2net_mm.reversible import Branch

from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..maps import map_branch


@register_family(ConvNeXt)
class ConvNeXtFamily(HierarchicalFamily):
    """timm's ``ConvNeXt``; streams [B, H, W, C].

    Its maps have channels last in memory behind every LayerNorm.
    """

    norms = ('norm_pre',)
    channels_last = True


@register_block(ConvNeXtBlock)
def convnext_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """One branch dp(γ·mlp(norm(conv_dw x)))."""
    layers = (block.conv_dw, functools.partial(_behind_convolution, block))
    return [map_branch(layers, block.drop_path, shape, chunk, modules=(block,))]


def _behind_convolution(block: nn.Module, x: Tensor) -> Tensor:
    """Apply the block behind its depthwise convolution, on [B, C, H, W]."""
    if block.use_conv_mlp:
        x = block.mlp(block.norm(x))
    else:
        x = block.mlp(block.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
    if block.gamma is not None:
        x = x.mul(block.gamma.reshape(1, -1, 1, 1))
    return x
