"""A function evaluated piece by piece, each piece again in the backward pass.

What is kept for the backward pass are the arguments. For autograd it is one function:
the parameters are inputs of it and get their gradients returned, each once, which DDP
and gradient hooks rely on.
"""

import contextlib
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from dr2net_mm.reversible.replay import AutocastState, RngState

from .call_arguments import SAMPLES, TOKENS, WHOLE, CallArguments, part, slices
from .gradient_sums import Gradients, GradientSums, gradients_of, summed


class Evaluation:
    r"""What is evaluated on the pieces of a call.

    .. math::
        s_b = \mathrm{prepare}(a_b), \qquad
        y_{b,p} = \mathrm{evaluate}(a_{b,p}, s_b)

    with :math:`a_b` the arguments of a group of samples b and :math:`a_{b,p}` those of
    a piece p of their tokens.
    """

    def prepare(self, arguments: Dict[str, Any]) -> Optional[Tensor]:
        """Return what the pieces of a group of samples share, or None."""
        return None

    def evaluate(self, arguments: Dict[str, Any], shared: Optional[Tensor]) -> Any:
        """Return the outputs of one piece, cut as the arguments are."""
        raise NotImplementedError


class PiecewiseCall:
    """One call that runs in pieces.

    Args:
        evaluation: What is evaluated.
        arguments: The arguments and how they are cut.
        parameters: Parameters that the evaluation uses.
        samples: Samples of a group.
        tokens: Tokens of a piece.
        owner: What the call is of, for messages.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        arguments: CallArguments,
        parameters: Sequence[nn.Parameter],
        samples: int,
        tokens: Optional[int],
        owner: str,
    ) -> None:
        self.evaluation = evaluation
        self.arguments = arguments
        self.parameters = [p for p in parameters if p.requires_grad]
        self.rows = slices(arguments.batch, samples)
        self.columns: Tuple[Optional[slice], ...] = (None,)
        if arguments.length and tokens:
            self.columns = slices(arguments.length, tokens)
        self.owner = owner
        self.autocast = AutocastState(arguments.tensors[0].device)
        self.rng: Optional[RngState] = None
        self.spec: Any = None
        self.constants: Dict[int, Any] = {}

    def __call__(self) -> Any:
        """Return the outputs, as of one evaluation on all samples and tokens."""
        tensors = _Piecewise.apply(self, *self.arguments.tensors, *self.parameters)
        leaves = list(tensors)
        for place, value in sorted(self.constants.items()):
            leaves.insert(place, value)
        return tree_unflatten(leaves, self.spec)

    @property
    def single(self) -> bool:
        """Whether there is one piece only."""
        return len(self.rows) == len(self.columns) == 1

    def outputs(self, tensors: Sequence[Tensor]) -> List[Tensor]:
        """Return the tensors of the outputs, those of all pieces joined."""
        joined: List[Tensor] = []
        for rows in self.rows:
            group = self.arguments.select(tensors, rows)
            shared = self.evaluation.prepare(self.arguments.built(group))
            for columns in self.columns:
                piece = self.arguments.select(tensors, rows, columns)
                found = self._evaluated(piece, shared)
                if self.single:
                    self._check(found, rows, columns)
                    return found
                if not joined:
                    joined = [self._room(x, rows, columns) for x in found]
                self._check(found, rows, columns)
                for whole, x in zip(joined, found):
                    self._part(whole, rows, columns).copy_(x)
        return joined

    def gradients(
        self, tensors: Sequence[Tensor], needs: Sequence[bool], grads: Gradients
    ) -> Gradients:
        """Return the gradients of all tensors and parameters that need one."""
        count = len(self.arguments.axes)
        totals = GradientSums(tensors, needs, self.single)
        axes = [*self.arguments.axes, *[WHOLE] * len(self.parameters)]
        for rows in self.rows:
            group = self._leaves(tensors[:count], needs, rows, None)
            with self._replayed():
                shared = self.evaluation.prepare(self.arguments.built(group))
            joint = None
            if shared is not None and shared.requires_grad:
                joint = shared.detach().requires_grad_()
            gathered: Optional[Tensor] = None
            for columns in self.columns:
                piece = self._leaves(tensors[:count], needs, rows, columns)
                with self._replayed():
                    found = self._evaluated(piece, shared if joint is None else joint)
                pairs = [
                    (x, self._part(g, rows, columns))
                    for x, g in zip(found, grads)
                    if g is not None and x.requires_grad
                ]
                del found
                if not pairs:
                    continue
                inputs = [*piece, *self.parameters]
                extra = [] if joint is None else [joint]
                results = gradients_of(
                    [x for x, _ in pairs], [g for _, g in pairs], [*extra, *inputs]
                )
                del pairs
                if joint is not None:
                    gathered = summed(gathered, results.pop(0), len(self.columns) == 1)
                totals.add(results, axes, rows, columns, self.arguments.batch)
                del results, piece, inputs
            if gathered is not None:
                assert shared is not None
                results = gradients_of([shared], [gathered], [*group, *self.parameters])
                totals.add(results, axes, rows, None, self.arguments.batch)
            del shared, joint, gathered, group
        return totals.found

    def _evaluated(self, piece: Sequence[Tensor], shared: Optional[Tensor]) -> Any:
        result = self.evaluation.evaluate(self.arguments.built(piece), shared)
        leaves, self.spec = tree_flatten(result)
        self.constants = {
            i: leaf for i, leaf in enumerate(leaves) if not isinstance(leaf, Tensor)
        }
        for leaf in self.constants.values():
            if not isinstance(leaf, (bool, int, float, str, type(None))):
                raise ValueError(
                    f'{self.owner} returns a {type(leaf).__name__}, which cannot be '
                    'joined from pieces; checkpoint it with modules=[...]'
                )
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    def _leaves(
        self,
        tensors: Sequence[Tensor],
        needs: Sequence[bool],
        rows: slice,
        columns: Optional[slice],
    ) -> List[Tensor]:
        """Return pieces of the tensors, as leaves of a graph of their own."""
        chosen = self.arguments.select(tensors, rows, columns)
        return [x.detach().requires_grad_(need) for x, need in zip(chosen, needs)]

    @property
    def _axes(self) -> int:
        return SAMPLES if self.columns[0] is None else TOKENS

    def _part(self, whole: Tensor, rows: slice, columns: Optional[slice]) -> Tensor:
        return part(whole, self._axes, rows, columns, self.arguments.batch)

    def _room(self, x: Tensor, rows: slice, columns: Optional[slice]) -> Tensor:
        """Make room for all pieces of an output."""
        shape = list(x.shape)
        if shape:
            shape[0] = shape[0] // (rows.stop - rows.start) * self.arguments.batch
        if columns is not None and len(shape) > 1:
            assert self.arguments.length is not None
            shape[1] = self.arguments.length
        return x.new_empty(shape)

    def _check(
        self, found: Sequence[Tensor], rows: slice, columns: Optional[slice]
    ) -> None:
        size = rows.stop - rows.start
        for x in found:
            fits = x.dim() > 0 and x.shape[0] > 0 and x.shape[0] % size == 0
            if fits and columns is not None:
                fits = x.dim() > 1 and x.shape[1] == columns.stop - columns.start
            if not fits:
                raise ValueError(
                    f'{self.owner} turned {size} samples into an output of shape '
                    f'{tuple(x.shape)}, which does not begin with them; it cannot run '
                    'in pieces, checkpoint it with modules=[...]'
                )

    @contextlib.contextmanager
    def _replayed(self) -> Iterator[None]:
        with torch.enable_grad(), self.autocast.replayed():
            yield


class _Piecewise(torch.autograd.Function):
    """A call in pieces as one node of the graph."""

    @staticmethod
    def forward(ctx: Any, call: PiecewiseCall, *tensors: Tensor) -> Tuple[Tensor, ...]:
        rng = RngState(call.arguments.tensors[0].device)
        with call.autocast.replayed():
            outputs = call.outputs(tensors)
        call.rng = None if rng.unchanged() else rng
        ctx.call = call
        # Parameters too, so that a change of theirs before the backward is noticed.
        ctx.save_for_backward(*tensors)
        call.arguments.release()
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(x for x in outputs if not x.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Optional[Tensor]) -> Tuple[Optional[Tensor], ...]:
        call: PiecewiseCall = ctx.call
        if all(grad is None for grad in grads):
            return (None,) * len(ctx.needs_input_grad)
        with contextlib.ExitStack() as stack:
            if call.rng is not None:
                stack.enter_context(call.rng.replayed())
            found = call.gradients(
                ctx.saved_tensors, ctx.needs_input_grad[1:], list(grads)
            )
        return (None, *found)
