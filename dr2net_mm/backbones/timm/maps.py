"""Branches of streams [B, C, H, W], such as convolutions."""

from typing import Optional, Sequence

from torch import nn

from dr2net_mm.backbones.branches.estimate import estimated_cost, per_row
from dr2net_mm.backbones.branches.layers import Layer, LayersBranch

from .blocks import Chunk


def map_branch(
    layers: Sequence[Layer],
    drop_path: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    modules: Optional[Sequence[nn.Module]] = None,
    weights: float = 0,
    products: float = 0,
) -> LayersBranch:
    """``F(x) = drop_path(layers(x))`` of maps, in pieces of whole samples.

    Args:
        layers: The layers, from [B, C, H, W] to the same shape.
        drop_path: The block's ``DropPath`` or ``Identity``.
        shape: Shape of the stream, [B, C, H, W].
        chunk: How many rows of the stream at a time.
        modules: The modules whose parameters the layers use, where those do not show.
        weights: Attention weights that are kept for a pixel.
        products: Multiply-adds of attention for a pixel.
    """
    branch = LayersBranch(layers, drop_path, chunk, shape[1:], modules=modules)
    _, channels, height, width = shape
    cost = estimated_cost(branch.modules, channels, weights, products)
    branch.set_cost(per_row(cost, height * width, channels * height))
    return branch
