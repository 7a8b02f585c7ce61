"""EVA, EVA-02, DINOv3 and others with rotary position embeddings."""

import functools
from typing import Callable, List, Optional, Sequence

from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..attention import attention_branch
from ..blocks import Chunk, register_block
from ..family import IsotropicFamily, register_family
from ..sizes import Size


@register_family(Eva)
class EvaFamily(IsotropicFamily):
    """timm's ``Eva``."""

    def embed(self, x: Tensor, arguments: dict) -> Tensor:
        """Compute the stream from images, before the blocks."""
        model = self.model
        x, rope = model._pos_embed(model.patch_embed(x))
        if rope is not None and not model.rope_mixed:
            arguments['rope'] = rope
        return model.norm_pre(x)

    def block_arguments(self, index: int, grid: Size, arguments: dict) -> dict:
        """Return the further arguments of a block."""
        model = self.model
        if not model.rope_mixed:
            return arguments
        # These frequencies are parameters: each branch evaluates its own.
        shape = grid if model.dynamic_img_size else None
        return dict(mixed_rope=functools.partial(_mixed, model.rope, shape, index))


def _mixed(rope: nn.Module, shape: Optional[Size], depth: int) -> Tensor:
    return rope.get_embed(shape=shape)[depth]


def _attend(
    block: nn.Module,
    rope: Optional[Tensor],
    mixed_rope: Optional[Callable[[], Tensor]],
    x: Tensor,
) -> Tensor:
    """Compute the block's attention, turned by fixed or learned frequencies."""
    return block.attn(x, rope=rope if mixed_rope is None else mixed_rope())


@register_block(EvaBlock)
def eva_branches(
    block: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    rope: Optional[Tensor] = None,
    mixed_rope: Optional[functools.partial] = None,
) -> List[Branch]:
    """Branches dp1(γ1·attn(norm1 x, rope)) and dp2(γ2·mlp(norm2 x))."""
    attend = functools.partial(_attend, block, rope, mixed_rope)
    frequencies = () if mixed_rope is None else (mixed_rope.args[0],)
    return [
        attention_branch(
            (block.norm1, attend),
            block.attn,
            block.drop_path1,
            shape,
            chunk,
            block.gamma_1,
            modules=(block.norm1, block.attn, *frequencies),
        ),
        LayersBranch(
            (block.norm2, block.mlp), block.drop_path2, chunk, gamma=block.gamma_2
        ),
    ]


@register_block(EvaBlockPostNorm)
def eva_postnorm_branches(
    block: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    rope: Optional[Tensor] = None,
    mixed_rope: Optional[functools.partial] = None,
) -> List[Branch]:
    """Branches dp1(norm1(attn(x, rope))) and dp2(norm2(mlp x))."""
    attend = functools.partial(_attend, block, rope, mixed_rope)
    frequencies = () if mixed_rope is None else (mixed_rope.args[0],)
    return [
        attention_branch(
            (attend, block.norm1),
            block.attn,
            block.drop_path1,
            shape,
            chunk,
            modules=(block.attn, block.norm1, *frequencies),
        ),
        LayersBranch((block.mlp, block.norm2), block.drop_path2, chunk),
    ]
