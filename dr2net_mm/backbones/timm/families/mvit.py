"""MViTv2."""

import functools
from typing import Dict, List, Sequence

import torch
from timm.models.mvitv2 import MultiScaleBlock, MultiScaleVit
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import HierarchicalFamily, Size, check_own_size, register_family
from ..program import Blocks, Feature, Layers, Program


@register_family(MultiScaleVit)
class MViTFamily(HierarchicalFamily):
    """timm's ``MultiScaleVit``; streams are tokens [B, N, C].

    The first block of a stage that pools or widens its tokens is an ordinary layer.
    """

    def check_size(self, size: Size) -> None:
        check_own_size(self, size)

    def program(self, size: Size) -> Program:
        """Embedding and stages, a feature behind each stage."""
        # The size of the token grid behind each ordinary layer, when it has run.
        grid: Dict[str, List[int]] = {}
        items: Program = [Layers(functools.partial(self._embed, grid))]
        for number, stage in enumerate(self.model.stages):
            for block in stage.blocks:
                if keeps_shape(block):
                    items.append(Blocks([block], block.norm1.weight.numel(), grid))
                else:
                    before, grid = grid, {}
                    change = functools.partial(_change, block, before, grid)
                    items.append(Layers(change, [block]))
            last = number == self.last_stage
            norms = self.output_norms() if self.output_norm and last else []
            function = functools.partial(self._map, grid, norms)
            items.append(Feature(number, function, norms))
        return items

    def _embed(self, grid: dict, x: Tensor) -> Tensor:
        model = self.model
        x, grid['feat_size'] = model.patch_embed(x)
        if model.cls_token is not None:
            x = torch.cat((model.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        return x if model.pos_embed is None else x + model.pos_embed

    def _map(self, grid: dict, norms: Sequence[nn.Module], x: Tensor) -> Tensor:
        for norm in norms:
            x = norm(x)
        if self.model.cls_token is not None:
            x = x[:, 1:]
        height, width = grid['feat_size']
        return x.reshape(x.shape[0], height, width, -1).permute(0, 3, 1, 2)


def keeps_shape(block: nn.Module) -> bool:
    """Whether a block adds to its input, neither pooled nor projected."""
    changes = (
        block.shortcut_pool_attn,
        block.shortcut_proj_attn,
        block.shortcut_proj_mlp,
    )
    return all(change is None for change in changes)


def _change(block: nn.Module, before: dict, after: dict, x: Tensor) -> Tensor:
    x, after['feat_size'] = block(x, before['feat_size'])
    return x


@register_block(MultiScaleBlock)
def mvit_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk, feat_size: Sequence[int]
) -> List[Branch]:
    """Branches dp1(attn(norm1 x, size)) and dp2(mlp(norm2 x))."""
    attend = functools.partial(_attend, block.attn, feat_size)
    # Keys are pooled.
    pool = block.attn.pool_k
    pooled = 1 if pool is None else pool.stride[0] * pool.stride[1]
    return [
        attention_branch(
            (block.norm1, attend),
            block.attn,
            block.drop_path1,
            shape,
            chunk,
            seen=-(-shape[1] // pooled),
            modules=(block.norm1, block.attn),
        ),
        LayersBranch((block.norm2, block.mlp), block.drop_path2, chunk),
    ]


def _attend(attention: nn.Module, size: Sequence[int], x: Tensor) -> Tensor:
    return attention(x, size)[0]
