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
from ..family import HierarchicalFamily, register_family
from ..program import Blocks, Feature, Layers, Program
from ..sizes import Size, check_own_size

WHOLE_BLOCK, FEED_FORWARD = dict(attention=True), dict(attention=False)


@register_family(MultiScaleVit)
class MViTFamily(HierarchicalFamily):
    """timm's ``MultiScaleVit``; streams are tokens [B, N, C].

    Attention that pools or widens its tokens is an ordinary layer.
    """

    def check_size(self, size: Size) -> None:
        """Refuse a size that the model cannot take."""
        check_own_size(self.model, self.own_size(), size)

    def program(self, size: Size) -> Program:
        """Embedding and stages, a feature behind each stage."""
        # The size of the token grid behind each ordinary layer, when it has run.
        grid: Dict[str, List[int]] = {}
        items: Program = [Layers(functools.partial(self._embed, grid))]
        for number, stage in enumerate(self.model.stages):
            for block in stage.blocks:
                whole = keeps_shape(block)
                if block.shortcut_proj_mlp is not None:
                    raise ValueError(
                        'this MViTv2 widens its tokens in an MLP (expand_attn=False), '
                        'whose blocks have no residual branches; choose another model.'
                    )
                if not whole:
                    # The feed-forward part of the block is in the stream.
                    before, grid = grid, {}
                    change = functools.partial(_change, block, before, grid)
                    parts = (block.norm1, block.attn, block.shortcut_proj_attn)
                    modules = [part for part in parts if part is not None]
                    width = block.norm1.weight.numel()
                    items.append(Layers(change, modules, width))
                kinds = WHOLE_BLOCK if whole else FEED_FORWARD
                width = block.norm2.weight.numel()
                items.append(Blocks([block], width, grid, more=kinds))
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
    return block.shortcut_pool_attn is None and block.shortcut_proj_attn is None


def _change(block: nn.Module, before: dict, after: dict, x: Tensor) -> Tensor:
    """Tokens behind an attention that pools or widens, with their shortcut."""
    normed, size = block.norm1(x), before['feat_size']
    if block.shortcut_proj_attn is not None:
        x = block.shortcut_proj_attn(normed)
    x = block._shortcut_pool(x, size)
    found, after['feat_size'] = block.attn(normed, size)
    return x + block.drop_path1(found)


@register_block(MultiScaleBlock)
def mvit_branches(
    block: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    feat_size: Sequence[int],
    attention: bool = True,
) -> List[Branch]:
    """Branches dp1(attn(norm1 x, size)) and dp2(mlp(norm2 x)).

    Args:
        block: The block.
        shape: Shape of the stream, [B, N, C].
        chunk: How many tokens at a time.
        feat_size: Rows and columns of tokens.
        attention: Whether its attention is in the stream.
    """
    feed = LayersBranch((block.norm2, block.mlp), block.drop_path2, chunk)
    if not attention:
        return [feed]
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
        feed,
    ]


def _attend(attention: nn.Module, size: Sequence[int], x: Tensor) -> Tensor:
    return attention(x, size)[0]
