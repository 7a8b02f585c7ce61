"""PVTv2."""

import functools
from typing import Dict, List, Sequence, Tuple

from timm.models.pvt_v2 import Block, PyramidVisionTransformerV2
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..program import Blocks, Layers, Program


@register_family(PyramidVisionTransformerV2)
class PvtFamily(HierarchicalFamily):
    """timm's ``PyramidVisionTransformerV2``; streams are tokens [B, N, C]."""

    # The norm of each stage is part of it.
    norms = ()

    def embed(self, x: Tensor) -> Tensor:
        """Compute the stream from images, before the blocks."""
        return self.model.patch_embed(x)

    def stage_items(self, stage: nn.Module, number: int) -> Program:
        """Return the layers and blocks of a stage."""
        width = self.model.feature_info[number]['num_chs']
        # Filled in when the tokens are there.
        grid: Dict[str, Tuple[int, int]] = {}
        before = [] if stage.downsample is None else [stage.downsample]
        return [
            Layers(functools.partial(_tokens, stage.downsample, grid), before),
            Blocks(list(stage.blocks), width, grid),
            Layers(functools.partial(_normed_map, stage.norm, grid), [stage.norm]),
        ]


def _tokens(downsample: nn.Module, grid: dict, x: Tensor) -> Tensor:
    """Tokens [B, N, C] of a map; that of the first stage is [B, H, W, C]."""
    if downsample is not None:
        x = downsample(x)
    grid['size'] = tuple(x.shape[1:3])
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _normed_map(norm: nn.Module, grid: dict, x: Tensor) -> Tensor:
    """Map [B, C, H, W] of tokens."""
    x = norm(x).reshape(x.shape[0], *grid['size'], -1)
    return x.permute(0, 3, 1, 2).contiguous()


@register_block(Block)
def pvt_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, size: Tuple[int, int]
) -> List[Branch]:
    """Branches dp1(attn(norm1 x, size)) and dp2(mlp(norm2 x, size))."""
    attend = functools.partial(block.attn, feat_size=size)
    feed = functools.partial(block.mlp, feat_size=size)
    return [
        attention_branch(
            (block.norm1, attend), block.attn, block.drop_path1, shape, chunk
        ),
        LayersBranch((block.norm2, feed), block.drop_path2, chunk, shape[1:]),
    ]
