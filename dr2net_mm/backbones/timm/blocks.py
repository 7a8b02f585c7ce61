"""Which residual branches a block of timm consists of: an open registry.

A block that is not in it runs as one difference branch F(x) = block(x) - x.
"""

import functools
from typing import Any, Callable, Dict, List, Sequence, Type, TypeVar

from torch import nn

from dr2net_mm.backbones.branches.layers import (
    DifferenceBranch,
    LayersBranch,
    channels_last,
)
from dr2net_mm.reversible import Branch

from .program import Blocks, Chunk

BranchMaker = Callable[..., List[Branch]]
Maker = TypeVar('Maker', bound=BranchMaker)

#: Branch makers by the exact class of a block: a subclass may compute something else.
BLOCKS: Dict[Type[nn.Module], BranchMaker] = {}


def register_block(*classes: Type[nn.Module]) -> Callable[[Maker], Maker]:
    """Register what makes the residual branches of blocks of these classes.

    The function is called as ``make(block, shape, chunk, **arguments)`` in every
    forward pass:

    - ``block``: the block.
    - ``shape``: shape of the stream, batch first, as timm hands it to the block.
    - ``chunk``: how many tokens at a time, see ``DualResidualOptions.chunk``.
    - ``arguments``: what the model hands to its blocks beside the stream.

    It returns the branches in order. Their sum with the identity must be the block:
    ``x = x + F(x)`` for each branch F in turn.

    Args:
        classes: Classes of blocks; subclasses are not included.
    """

    def register(make: Maker) -> Maker:
        for one in classes:
            BLOCKS[one] = make
        return make

    return register


def branches_of(item: Blocks, shape: Sequence[int], chunk: Chunk) -> List[List[Branch]]:
    """Residual branches of each of some blocks, on a stream of a shape.

    Args:
        item: The blocks.
        shape: Shape of the stream, batch first.
        chunk: How many tokens at a time.
    """
    if item.channels_last:
        shape = (shape[0], shape[-1], *shape[1:-1])
    arguments = {**item.arguments, **item.more}
    found = [
        block_branches(block, shape, chunk, item.width, arguments)
        for block in item.blocks
    ]
    if item.channels_last:
        found = [[_of_maps(one) for one in branches] for branches in found]
    return found


def _of_maps(branch: Branch) -> Branch:
    """Let a branch of maps work on a stream with channels last.

    Raises:
        TypeError: If it does not say of what shape its samples are.
    """
    if not isinstance(branch, LayersBranch):
        raise TypeError(
            f'blocks of this model have streams with channels last, for which branches '
            f'are made of LayersBranch (backbones/timm/maps.py), got '
            f'{type(branch).__name__}.'
        )
    return channels_last(branch)


def block_branches(
    block: nn.Module,
    shape: Sequence[int],
    chunk: Chunk,
    width: int,
    arguments: Dict[str, Any],
) -> List[Branch]:
    """Residual branches of a block: its own, or the difference to its input.

    Args:
        block: A block that keeps the shape of its input.
        shape: Shape of the stream, batch first.
        chunk: How many tokens at a time.
        width: Channels of the stream.
        arguments: What the model hands to its blocks beside the stream.
    """
    make = BLOCKS.get(type(block))
    if make is not None:
        return make(block, shape, chunk, **arguments)
    function = functools.partial(block, **arguments)
    return [DifferenceBranch(block, function, chunk, shape[1:], width)]
