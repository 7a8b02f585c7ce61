"""CaiT, up to the blocks of its class token."""

from typing import List, Sequence

from timm.models.cait import Cait, LayerScaleBlock
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import IsotropicFamily, register_family


@register_family(Cait)
class CaitFamily(IsotropicFamily):
    """timm's ``Cait``; the class token comes behind all features."""

    prefix_tokens = 0

    def embed(self, x: Tensor, arguments: dict) -> Tensor:
        """Compute the stream from images, before the blocks."""
        model = self.model
        return model.pos_drop(model.patch_embed(x) + model.pos_embed)


@register_block(LayerScaleBlock)
def cait_branches(block: nn.Module, shape: Sequence[int], chunk: Chunk) -> List[Branch]:
    """Branches dp(γ1·attn(norm1 x)) and dp(γ2·mlp(norm2 x))."""
    return [
        attention_branch(
            (block.norm1, block.attn),
            block.attn,
            block.drop_path,
            shape,
            chunk,
            block.gamma_1,
        ),
        LayersBranch(
            (block.norm2, block.mlp), block.drop_path, chunk, gamma=block.gamma_2
        ),
    ]
