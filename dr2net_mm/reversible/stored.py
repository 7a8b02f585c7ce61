"""A stage under ordinary autograd, on the same arithmetic as the reversible one.

The reference for every gradient of :mod:`dr2net_mm.reversible.step`. Streams are
represented as there; beside each goes a differentiable tensor for autograd: the
float view of x, which branches see, and an empty stand-in for y, which none does.
"""

from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .arithmetic import Arithmetic
from .branch import Branch
from .monitor import StreamMonitor
from .stage_output import StageOutput, Taps
from .step import check_output


class _Glue(torch.autograd.Function):
    """One step on both representations: ``x_i = f + α·x_{i-1} + y_{i-1}``."""

    @staticmethod
    def forward(
        ctx: Any,
        f: Tensor,
        x_view: Tensor,
        y_standin: Tensor,
        arithmetic: Arithmetic,
        branch: Branch,
        x: Tensor,
        y: Tensor,
        monitor: StreamMonitor,
    ) -> Tuple[Tensor, ...]:
        ctx.arithmetic, ctx.dtype = arithmetic, f.dtype
        x_next = y.clone()
        for piece in branch.pieces(x):
            part = arithmetic.view(x, piece)
            largest = arithmetic.add_(x_next, piece, piece.read(f.contiguous()), part)
            monitor.note(largest)
        y_next, _ = arithmetic.beta_step_(x.clone(), keep=False)
        ctx.mark_non_differentiable(x_next, y_next)
        return arithmetic.value(x_next), standin(x_view), x_next, y_next

    @staticmethod
    def backward(
        ctx: Any, gx: Tensor, gy: Tensor, *_: Any
    ) -> Tuple[Optional[Tensor], ...]:
        arithmetic = ctx.arithmetic
        gx = gx.to(arithmetic.dtype).contiguous()
        gy = gy.to(arithmetic.dtype).clone(memory_format=torch.contiguous_format)
        past = arithmetic.stream_gradient_(gx, gy)
        return gx.to(ctx.dtype), past, gx, None, None, None, None, None


class _Enter(torch.autograd.Function):
    """Differentiable view of x_0 and stand-in of y_0."""

    @staticmethod
    def forward(
        ctx: Any, x0: Tensor, x: Tensor, arithmetic: Arithmetic
    ) -> Tuple[Tensor, Tensor]:
        ctx.arithmetic, ctx.dtype = arithmetic, x0.dtype
        view = arithmetic.value(x)
        return view, standin(view)

    @staticmethod
    def backward(ctx: Any, gx: Tensor, gy: Tensor) -> Tuple[Tensor, None, None]:
        gradient = gy.to(ctx.arithmetic.dtype) * ctx.arithmetic.beta + gx
        return gradient.to(ctx.dtype), None, None


class _Reveal(torch.autograd.Function):
    """Float view of a stream whose stand-in carries its gradient."""

    @staticmethod
    def forward(
        ctx: Any, y_standin: Tensor, y: Tensor, arithmetic: Arithmetic
    ) -> Tensor:
        return arithmetic.value(y)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tuple[Tensor, None, None]:
        return gy, None, None


def standin(like: Tensor) -> Tensor:
    """Return a tensor of the shape of another one that takes no memory."""
    return like.new_zeros(()).expand(like.shape)


def evaluate(branch: Branch, x_view: Tensor, x: Tensor) -> Tensor:
    """Evaluate F on the whole stream, piece by piece, in the stream's shape."""
    pieces = branch.pieces(x)
    drop_mask = branch.drop_mask(x)
    # Nodes of their own collect the gradients of all uses of an input in this branch,
    # as the reversible backward does, before those of others are added.
    x_view = x_view.view_as(x_view)
    inputs = branch.inputs()
    if inputs:
        branch = branch.with_inputs([tensor.view_as(tensor) for tensor in inputs])
    if len(pieces) == 1 and pieces[0].index is None:
        f = branch(x_view, pieces[0], drop_mask)
        check_output(f, x_view, branch)
        return f
    tokens = torch.arange(x.numel() // x.shape[-1], device=x.device)
    indices = [tokens[piece.index] for piece in pieces]
    order = torch.cat(indices)
    parts = x_view.reshape(-1, x.shape[-1])[order].split([len(i) for i in indices])
    found = [branch(part, piece, drop_mask) for part, piece in zip(parts, pieces)]
    return torch.cat(found)[order.argsort()].view(x.shape)


def run_stored(
    x0: Tensor,
    branches: Sequence[Branch],
    stage_output: StageOutput,
    arithmetics: Sequence[Arithmetic],
    monitor: StreamMonitor,
    taps: Taps,
) -> Tuple[Tensor, ...]:
    """Run a stage whose activations autograd stores."""
    x, y, largest = arithmetics[0].enter(x0)
    monitor.note(largest)
    x_view, y_standin = _Enter.apply(x0, x, arithmetics[0])
    tapped: List[Tensor] = []
    for number, branch in enumerate(branches, start=1):
        arithmetic = arithmetics[number]
        f = evaluate(branch, x_view.to(arithmetic.branch_dtype), x)
        x_view, y_standin, x, y = _Glue.apply(
            f, x_view, y_standin, arithmetic, branch, x, y, monitor
        )
        if number in taps:
            # By a node behind those of the next branches, as the reversible backward.
            tap_view = x_view.view_as(x_view)
            tapped += taps[number](tap_view.to(arithmetic.branch_dtype))
    streams = [x_view]
    if stage_output.fusion != 'last':
        streams.append(_Reveal.apply(y_standin, y, arithmetics[-1]))
    outputs = stage_output(
        stage_output.join(*(s.to(arithmetics[-1].branch_dtype) for s in streams))
    )
    return (*tapped, *outputs)
