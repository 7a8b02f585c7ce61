"""PoolFormer, and other MetaFormers."""

import functools
from typing import Callable, Dict, List, Sequence, Tuple

from timm.models.metaformer import MetaFormer, MetaFormerBlock
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, register_family
from ..maps import map_branch
from ..program import Blocks, Layers, Program


@register_family(MetaFormer)
class MetaFormerFamily(HierarchicalFamily):
    """timm's ``MetaFormer``; streams [B, C, H, W], or tokens where there is attention.

    A stage that scales its identity (CAFormer's last two) adds the rest of that to its
    branches: at (1, 0) it is timm's up to rounding.
    """

    # timm has none for features.
    norms = ()

    def stage_items(self, stage: nn.Module, number: int) -> Program:
        """Return the layers and blocks of a stage."""
        if stage.use_nchw:
            return super().stage_items(stage, number)
        width = self.model.feature_info[number]['num_chs']
        grid: Dict[str, Tuple[int, int]] = {}
        # The blocks need no size: not among their arguments.
        return [
            Layers(functools.partial(_tokens, stage.downsample, grid), [stage]),
            Blocks(list(stage.blocks), width),
            Layers(functools.partial(_map, grid)),
        ]


def _tokens(downsample: nn.Module, grid: dict, x: Tensor) -> Tensor:
    x = downsample(x)
    grid['size'] = tuple(x.shape[2:])
    return x.flatten(2).transpose(1, 2)


def _map(grid: dict, x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], -1, *grid['size'])


@register_block(MetaFormerBlock)
def metaformer_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches ls1(dp1(token_mixer(norm1 x))) and ls2(dp2(mlp(norm2 x)))."""
    mixing = (block.norm1, block.token_mixer, block.layer_scale1)
    mlp = (block.norm2, block.mlp, block.layer_scale2)
    first = _rescaled(mixing, block.res_scale1)
    second = _rescaled(mlp, block.res_scale2)
    drops = (block.drop_path1, block.drop_path2)
    parts = ((*mixing, block.res_scale1), (*mlp, block.res_scale2))
    if len(shape) == 4:
        return [
            map_branch(layers, drop, shape, chunk, modules)
            for layers, drop, modules in zip((first, second), drops, parts)
        ]
    return [
        attention_branch(
            first, block.token_mixer, drops[0], shape, chunk, modules=parts[0]
        ),
        LayersBranch(second, drops[1], chunk, shape[1:], modules=parts[1]),
    ]


def _rescaled(
    layers: Sequence[nn.Module], scale: nn.Module
) -> Sequence[Callable[[Tensor], Tensor]]:
    """Layers, plus what the scale of the identity adds to it."""
    if isinstance(scale, nn.Identity):
        return layers
    return (functools.partial(_sum, layers, scale),)


def _sum(layers: Sequence[nn.Module], scale: nn.Module, x: Tensor) -> Tensor:
    out = x
    for layer in layers:
        out = layer(out)
    return out + (scale(x) - x)
