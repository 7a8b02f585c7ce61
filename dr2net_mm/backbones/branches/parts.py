"""Functions evaluated for some rows at a time, each part recomputed by itself."""

from typing import Any, Callable, Optional, Tuple, Union

import torch
import torch.utils.checkpoint as cp
from torch import Tensor

from .chunking import tokens_per_piece


def recomputed(
    function: Callable[..., Tensor], *arguments: Any, when: bool = True
) -> Tensor:
    """``function(*arguments)``, evaluated again in its backward pass.

    Args:
        function: Gives the same bits for the same arguments, random numbers replayed.
        arguments: Tensors and others.
        when: Whether it is so; otherwise, and without gradients, it is a plain call.
    """
    if when and torch.is_grad_enabled():
        return cp.checkpoint(function, *arguments, use_reentrant=False)
    return function(*arguments)


def in_parts(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    rows: Optional[int],
    recompute: bool,
    dim: int = 0,
) -> Tensor:
    """``function(x)``, for some rows at a time.

    Args:
        function: Treats each row by itself: a sample, or a token.
        x: Its argument.
        rows: How many rows at a time; None for all of them.
        recompute: Whether each of several parts keeps its rows alone and is evaluated
            again in its backward pass.
        dim: Axis of the rows.
    """
    if rows is None or rows >= x.shape[dim]:
        return function(x)
    parts = x.split(rows, dim)
    return torch.cat(
        [recomputed(function, part, when=recompute) for part in parts], dim
    )


def parts_of(
    x: Tensor, values: int, chunk: Union[None, int, str]
) -> Tuple[Optional[int], Optional[int]]:
    """How many samples at a time, and how many tokens of one that is too large itself.

    Args:
        x: Tokens [B, N, C].
        values: Numbers that are held for a token while it is differentiated.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.

    Returns:
        Two numbers, each None where nothing is cut.
    """
    batch, tokens, channels = x.shape
    rows = tokens_per_piece(chunk, batch * tokens, channels, values)
    if rows is None:
        return None, None
    return (rows // tokens, None) if rows >= tokens else (1, rows)
