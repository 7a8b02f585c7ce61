"""One residual branch of a reversible stage, forward and backward.

The streams themselves are not autograd tensors: they live on the tape, which the
steps of a stage hand on. What ties the steps together for autograd is a *token*, a
scalar that each step takes and returns, so that autograd calls the backward of the
steps in reverse order, and only of those below which something needs a gradient.
Parameters, and further inputs of the branch, are inputs of their step and get their
gradients returned from it, which DDP and gradient hooks rely on.
"""

from typing import Any, List, Optional, Tuple

import torch
from torch import Tensor

from .arithmetic import Arithmetic
from .branch import Branch, Piece
from .monitor import StreamMonitor
from .replay import RngState, hooks_silenced, replayed
from .tape import Gradients, StepRecord, Tape, checksum


def branch_step(
    arithmetic: Arithmetic,
    branch: Branch,
    x: Tensor,
    y: Tensor,
    monitor: StreamMonitor,
    record: Optional[StepRecord] = None,
) -> Tuple[Tensor, Tensor]:
    """Compute the streams after a branch, in the memory of those before it.

    With a record, each piece of the branch is evaluated with gradients enabled even if
    its graph is dropped at once: the reconstruction does so too, and the same kernels
    have to run.

    Returns:
        x_i and y_i.
    """
    drop_mask = branch.drop_mask(x)
    pieces = record.pieces if record is not None else branch.pieces(x)
    if record is not None:
        record.drop_mask = drop_mask
    for piece in pieces:
        view = arithmetic.view(x, piece)
        if record is None:
            f = branch(view, piece, drop_mask)
        else:
            f = evaluate(record, piece, view)
        check_output(f, view, branch)
        monitor.note(arithmetic.add_(y, piece, f, view.detach()))
    y_next, remainder = arithmetic.beta_step_(x, keep=record is not None)
    if record is not None:
        record.remainder = remainder
    return y, y_next


def evaluate(record: StepRecord, piece: Piece, view: Tensor) -> Tensor:
    """Evaluate F on the next piece; record its graph or random state."""
    rng = RngState(view.device)
    with torch.enable_grad():
        f = record.branch(view.requires_grad_(), piece, record.drop_mask)
    if record.stored:
        record.graphs.append((view, f))
    else:
        record.rng.append(None if rng.unchanged() else rng)
    return f.detach()


def check_output(f: Tensor, x: Tensor, branch: Branch) -> None:
    """Raise a ValueError where a branch does not keep the shape of its input."""
    if f.shape != x.shape:
        raise ValueError(
            f'{type(branch).__name__} turned a tensor of shape {tuple(x.shape)} into '
            f'one of shape {tuple(f.shape)}; a residual branch has to keep the shape.'
        )


def branch_gradients(
    tape: Tape, record: StepRecord, needs_input_gradient: bool
) -> List[Optional[Tensor]]:
    """Undo a branch step on the tape and differentiate it.

    Takes the tape from (x_i, y_i, g(x_i), g(y_i)) to the same four one step earlier:

        g(x_{i-1}) = J_iᵀ g(x_i) + α g(x_i) + β g(y_i) ;  g(y_{i-1}) = g(x_i)

    Pieces are visited last to first, the order in which autograd would.

    Returns:
        The gradients of the parameters of the record, then those of its inputs.
    """
    arithmetic = record.arithmetic
    gx, gy = tape.gradients
    x_after = tape.x
    x = arithmetic.inverse_beta_step_(tape.y, record.remainder)
    record.remainder = None
    below = arithmetic.stream_gradient_(gx, gy) if needs_input_gradient else None
    sources = [*record.parameters, *record.inputs]
    totals: List[Optional[Tensor]] = [None] * len(sources)
    for piece in reversed(record.pieces):
        if record.stored:
            view, f = record.graphs.pop()
        else:
            view = arithmetic.view(x, piece).requires_grad_()
            f = replay(tape, record, piece, view)
        arithmetic.subtract_(x_after, piece, f.detach(), view.detach())
        if not f.requires_grad:
            continue
        wanted = ([view] if needs_input_gradient else []) + sources
        with hooks_silenced(record.parameters):
            found = list(
                torch.autograd.grad(
                    f, wanted, piece.read(gx).to(f.dtype), allow_unused=True
                )
            )
        if below is not None:
            gradient = found.pop(0)
            if gradient is not None:
                piece.add_(below, gradient)
                del gradient
        totals = [add_gradients(a, b) for a, b in zip(totals, found)]
        # Nothing of this piece is to be alive while the next one is evaluated.
        del view, f, found
    tape.x, tape.y = x, x_after
    if below is None:
        tape.gradients = None  # type: ignore[assignment]
    else:
        tape.gradients = Gradients(below, gx)
    return totals


def replay(
    tape: Tape,
    record: StepRecord,
    piece: Piece,
    view: Tensor,
) -> Tensor:
    """Evaluate a branch again on the last piece left, as in the forward pass."""
    rng = record.rng.pop()
    with torch.enable_grad(), tape.autocast.replayed(), replayed(rng):
        return record.branch(view, piece, record.drop_mask)


def add_gradients(total: Optional[Tensor], more: Optional[Tensor]) -> Optional[Tensor]:
    """Sum of two gradients, either of which may be missing."""
    if total is None or more is None:
        return more if total is None else total
    return total + more


class Step(torch.autograd.Function):
    """One residual branch as an autograd function from token to token."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Tensor,
        tape: Tape,
        record: StepRecord,
        monitor: StreamMonitor,
        *sources: Tensor,
    ) -> Tensor:
        """Run one branch on the streams of the tape; return the next token."""
        ctx.set_materialize_grads(False)
        ctx.tape, ctx.record = tape, record
        if tape.verify:
            record.checksum = checksum(tape.x, tape.y)
        with tape.autocast.replayed():
            tape.x, tape.y = branch_step(
                record.arithmetic, record.branch, tape.x, tape.y, monitor, record
            )
        tape.advance(record)
        ctx.position = tape.position
        return token.new_empty(())

    @staticmethod
    def backward(ctx: Any, grad: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
        """Reconstruct the input of the branch, and differentiate it there."""
        tape, record, position = ctx.tape, ctx.record, ctx.position
        tape.rewind(position)
        where = f'{tape.name}, branch {position}'
        record.versions.check(where)
        gradients = branch_gradients(tape, record, ctx.needs_input_grad[0])
        tape.position = position - 1
        tape.check(record, position)
        if not ctx.needs_input_grad[0]:
            tape.release()
        return (grad, None, None, None, *gradients)
