"""Branches of attention and of mixing by whole samples, from the layers of a block."""

from typing import Optional, Sequence

from torch import nn

from dr2net_mm.backbones.branches.estimate import estimated_cost
from dr2net_mm.backbones.branches.layers import Layer, LayersBranch

from .blocks import Chunk


def attention_branch(
    layers: Sequence[Layer],
    attention: nn.Module,
    drop_path: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    gamma: Optional[nn.Parameter] = None,
    seen: Optional[int] = None,
    modules: Optional[Sequence[nn.Module]] = None,
) -> LayersBranch:
    """``F(x) = drop_path(gamma · layers(x))`` with attention among the layers.

    Pieces are groups of whole samples.

    Args:
        layers: The layers, the attention (or a partial call of it) among them.
        attention: The attention, for the costs: ``fused_attn`` of it says whether its
            weights are kept.
        drop_path: The block's ``DropPath`` or ``Identity``.
        shape: Shape of the stream, [B, ..., C].
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        gamma: Multiplier of every channel of the result, [C].
        seen: Tokens that a token sees; by default all of its sample.
        modules: The modules whose parameters the layers use, where those do not show.
    """
    branch = LayersBranch(layers, drop_path, chunk, shape[1:], gamma, modules)
    width = shape[-1]
    seen = seen or branch.group
    heads: int = getattr(attention, 'num_heads', 0) or getattr(attention, 'heads', 1)
    # Logits, their softmax, and what dropout or a bias makes of them; or their sums.
    weights = heads if getattr(attention, 'fused_attn', False) else 3 * heads * seen
    weights += width * (gamma is not None)
    branch.set_cost(estimated_cost(branch.modules, width, weights, 2 * seen * width))
    return branch
