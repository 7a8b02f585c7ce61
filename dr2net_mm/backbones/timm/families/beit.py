"""BEiT and BEiT v2."""

import functools
from typing import List, Optional, Sequence, Tuple

import torch
from timm.models.beit import Beit, Block
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import IsotropicFamily, register_family
from ..sizes import Size


@register_family(Beit)
class BeitFamily(IsotropicFamily):
    """timm's ``Beit``."""

    def embed(self, x: Tensor, arguments: dict) -> Tensor:
        """Compute the stream from images, before the blocks."""
        model = self.model
        x = model.patch_embed(x)
        x = torch.cat((model.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        if model.pos_embed is not None:
            x = x + model.pos_embed
        return model.pos_drop(x)

    def block_arguments(self, index: int, grid: Size, arguments: dict) -> dict:
        """Return the further arguments of a block."""
        # Evaluated in each branch, so that its gradient is that of a parameter.
        return dict(shared_bias=self.model.rel_pos_bias)


@register_block(Block)
def beit_branches(
    block: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    shared_bias: Optional[nn.Module] = None,
) -> List[Branch]:
    """Branches dp1(γ1·attn(norm1 x)) and dp2(γ2·mlp(norm2 x))."""
    attend = block.attn
    modules: Tuple[nn.Module, ...] = (block.norm1, block.attn)
    if shared_bias is not None:
        attend = functools.partial(_biased, block.attn, shared_bias)
        modules = (*modules, shared_bias)
    return [
        attention_branch(
            (block.norm1, attend),
            block.attn,
            block.drop_path1,
            shape,
            chunk,
            block.gamma_1,
            modules=modules,
        ),
        LayersBranch(
            (block.norm2, block.mlp), block.drop_path2, chunk, gamma=block.gamma_2
        ),
    ]


def _biased(attention: nn.Module, shared_bias: nn.Module, x: Tensor) -> Tensor:
    return attention(x, shared_rel_pos_bias=shared_bias())
