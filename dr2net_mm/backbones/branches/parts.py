"""Functions evaluated for some rows at a time, each part recomputed by itself."""

from typing import Any, Callable, Optional

import torch
import torch.utils.checkpoint as cp
from torch import Tensor


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
