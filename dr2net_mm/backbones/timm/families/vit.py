"""ViT, DeiT, DeiT-III, MAE, CLIP, SigLIP, DINOv2 with and without registers."""

import functools
from typing import List, Sequence

import torch
import torch.nn.functional as F
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import (
    Block,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
    VisionTransformer,
)
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import IsotropicFamily, register_family


@register_family(VisionTransformer, VisionTransformerDistilled)
class VisionTransformerFamily(IsotropicFamily):
    """timm's ``VisionTransformer`` and the distilled DeiT."""

    def embed(self, x: Tensor, arguments: dict) -> Tensor:
        """Compute the stream from images, before the blocks."""
        model = self.model
        x = model._pos_embed(model.patch_embed(x))
        return model.norm_pre(model.patch_drop(x))


@register_block(Block)
def prenorm_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp1(ls1(attn(norm1 x))) and dp2(ls2(mlp(norm2 x)))."""
    return [
        attention_branch(
            (block.norm1, block.attn, block.ls1),
            block.attn,
            block.drop_path1,
            shape,
            chunk,
        ),
        LayersBranch((block.norm2, block.mlp, block.ls2), block.drop_path2, chunk),
    ]


@register_block(ResPostBlock)
def postnorm_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp1(norm1(attn x)) and dp2(norm2(mlp x))."""
    return [
        attention_branch(
            (block.attn, block.norm1), block.attn, block.drop_path1, shape, chunk
        ),
        LayersBranch((block.mlp, block.norm2), block.drop_path2, chunk),
    ]


@register_block(ParallelThingsBlock)
def parallel_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches Σ attns(x) and Σ ffns(x), each term with norm, scale and drop path."""
    # Each term has a drop path of its own.
    attentions = [one.attn for one in block.attns]
    return [
        attention_branch(
            (functools.partial(_sum_of, block.attns),),
            attentions[0],
            nn.Identity(),
            shape,
            chunk,
            modules=(block.attns,),
        ),
        LayersBranch(
            (functools.partial(_sum_of, block.ffns),),
            nn.Identity(),
            chunk,
            shape[1:],
            modules=(block.ffns,),
        ),
    ]


def _sum_of(terms: Sequence[nn.Module], x: Tensor) -> Tensor:
    return torch.stack([term(x) for term in terms]).sum(dim=0)


@register_block(ParallelScalingBlock)
def parallel_scaling_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """One branch dp(ls(attn(norm x) + mlp(norm x))), as in ViT-22B."""
    return [
        attention_branch(
            (block.in_norm, functools.partial(_parallel_scaling, block), block.ls),
            block,
            block.drop_path,
            shape,
            chunk,
            modules=(block,),
        )
    ]


def _parallel_scaling(block: nn.Module, x: Tensor) -> Tensor:
    """Attention and MLP of normed tokens [B, N, C], both projected, added up."""
    mlp, q, k, v = torch.split(block.in_proj(x), block.in_split, dim=-1)
    if block.mlp_bias is not None:
        mlp = mlp + block.mlp_bias
    heads = (*x.shape[:2], block.num_heads, block.head_dim)
    q = block.q_norm(q.view(heads)).transpose(1, 2)
    k = block.k_norm(k.view(heads)).transpose(1, 2)
    v = v.view(heads).transpose(1, 2)
    dropout = block.attn_drop.p if block.training else 0.0
    seen = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    seen = seen.transpose(1, 2).reshape(x.shape)
    mlp = block.mlp_drop(block.mlp_act(mlp))
    if block.out_proj is not None:
        return block.out_proj(torch.cat((seen, mlp), dim=-1))
    return block.attn_out_proj(seen) + block.mlp_out_proj(mlp)
