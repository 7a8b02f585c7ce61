"""Residual branches and the pieces of a stream that they are evaluated on."""

from typing import Any, Callable, Iterable, List, NamedTuple, Optional, Sequence, Union

import torch
from torch import Tensor, nn

from .kernels import dispatch, fused

Index = Union[None, slice, Tensor]


class Piece:
    """A part of a stream on which a branch can be evaluated by itself.

    Args:
        index: Which tokens: None for the whole stream in its own shape; a slice or
            an int64 tensor without repetitions, into the tokens [T, C] of a stream
            [..., C], for some of them.
        context: What the branch needs to know of this piece, e.g. a window mask.
    """

    __slots__ = ('index', 'context')

    def __init__(self, index: Index = None, context: Any = None) -> None:
        self.index = index
        self.context = context

    def read(self, stream: Tensor) -> Tensor:
        """Return the piece of a stream, a view where the index allows one."""
        if self.index is None:
            return stream
        tokens = stream.view(-1, stream.shape[-1])
        if isinstance(self.index, slice):
            return tokens[self.index]
        return tokens.index_select(0, self.index)

    def write_(self, stream: Tensor, values: Tensor) -> None:
        """Put ``values`` in the place that :meth:`read` reads."""
        if self.index is None:
            stream.copy_(values)
            return
        tokens = stream.view(-1, stream.shape[-1])
        if isinstance(self.index, slice):
            tokens[self.index] = values
        else:
            tokens.index_copy_(0, self.index, values)

    def add_(self, stream: Tensor, values: Tensor) -> None:
        """Add ``values`` in the place that :meth:`read` reads."""
        if self.index is None:
            stream.add_(values)
            return
        tokens = stream.view(-1, stream.shape[-1])
        if isinstance(self.index, slice):
            tokens[self.index].add_(values)
        elif dispatch.available(stream, values):
            fused.accumulate_(stream, self.index, values)
        else:
            tokens.index_copy_(0, self.index, self.read(stream).add_(values))


#: The whole stream in its own shape.
WHOLE = (Piece(),)


class TokenCost(NamedTuple):
    """Costs of a branch for each token of C numbers.

    Attributes:
        kept_values: Numbers kept from the forward to the backward pass if stored.
        transient_values: Numbers held at the peak of evaluating and differentiating.
        multiply_adds: Multiply-adds of one evaluation.
        conventional_values: Numbers that a conventional network keeps for it; None
            for all those kept if stored but the branch's output.
        single_values: Of the numbers kept, those in float32 even under autocast;
            None for the input alone.
        copied_values: Numbers kept a second time, in half precision, under autocast.
    """

    kept_values: int
    transient_values: int
    multiply_adds: int
    conventional_values: Optional[int] = None
    single_values: Optional[int] = None
    copied_values: int = 0


class Branch:
    """A residual branch F, without its residual connection.

    A subclass says which parameters F uses (:meth:`parameters`) and how F is evaluated
    on one piece of a stream (:meth:`__call__`). It may say more: into which pieces a
    stream can be cut (:meth:`piece_tokens`, :meth:`pieces`; every token in exactly one
    piece), what F costs (:meth:`cost`, for ``memory_budget``), and how F is written
    for export (:meth:`export`). F must not change its input, and must give the same
    bits for the same input.

    Tensors that F depends on besides the stream and the parameters, such as position
    embeddings that are computed once for all blocks, are its :meth:`inputs`: they get
    their gradients from every branch that names them.
    """

    def parameters(self) -> List[nn.Parameter]:
        """Return every parameter that F uses, each once."""
        raise NotImplementedError

    def inputs(self) -> Sequence[Tensor]:
        """Return the further tensors that F depends on and that may need a gradient.

        They must not change before the backward pass. One of the shape of the stream is
        read by :meth:`Piece.read`, like the stream itself.
        """
        return ()

    def with_inputs(self, inputs: Sequence[Tensor]) -> 'Branch':
        """Return the same branch of other tensors in place of its :meth:`inputs`.

        A branch that has inputs implements it.

        Args:
            inputs: As many tensors, of the same shapes and values.
        """
        if inputs:
            raise NotImplementedError(
                f'{type(self).__name__} has inputs() and no with_inputs().'
            )
        return self

    def cost(self, channels: int) -> TokenCost:
        """Estimate what F costs for each token of ``channels`` numbers.

        The default takes every parameter for a weight that each token meets once, and
        every token's share of an intermediate result for as wide as a weight matrix of
        ``channels`` columns is tall.
        """
        weights = sum(parameter.numel() for parameter in self.parameters())
        hidden = weights // channels
        return TokenCost(
            kept_values=2 * channels + hidden,
            transient_values=2 * channels + 2 * hidden,
            multiply_adds=max(weights, channels),
        )

    def piece_tokens(self, tokens: int, channels: int) -> Optional[int]:
        """Return the most tokens of a piece; None for the whole stream."""
        return None

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Cut a stream [..., C] into pieces."""
        return WHOLE

    def drop_mask(self, stream: Tensor) -> Optional[Tensor]:
        """Draw random numbers that all pieces share, e.g. a drop-path mask.

        Drawn once in the forward pass and kept for the backward pass.
        """
        return None

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on one piece: a tensor of the shape of ``x``."""
        raise NotImplementedError

    def export(self, x: Tensor) -> Tensor:
        """Evaluate F on a whole stream in operations that can be exported.

        The default evaluates F on the stream as one piece.
        """
        return self(x, WHOLE[0], None)


def unique_parameters(modules: Iterable[nn.Module]) -> List[nn.Parameter]:
    """Return the parameters of some modules, each once, in order."""
    found = {}
    for module in modules:
        for parameter in module.parameters():
            found[id(parameter)] = parameter
    return list(found.values())


class FunctionBranch(Branch):
    """A branch that is any function of the whole stream.

    Args:
        function: ``F``: tensor to tensor of the same shape.
        modules: The modules whose parameters ``function`` uses; by default
            ``function`` itself, which then has to be a module.
        inputs: Further tensors that may need a gradient; ``function`` takes them
            behind the stream.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        modules: Optional[Sequence[nn.Module]] = None,
        inputs: Sequence[Tensor] = (),
    ) -> None:
        if modules is None:
            if not isinstance(function, nn.Module):
                raise TypeError(
                    'FunctionBranch needs `modules` where `function` is no '
                    f'nn.Module, got {type(function).__name__}.'
                )
            modules = [function]
        self.function = function
        self.modules = modules
        self._inputs = tuple(inputs)

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        return unique_parameters(self.modules)

    def inputs(self) -> Sequence[Tensor]:
        """Return the further tensors that F depends on."""
        return self._inputs

    def with_inputs(self, inputs: Sequence[Tensor]) -> 'FunctionBranch':
        """Return the same branch of other tensors."""
        return FunctionBranch(self.function, self.modules, inputs)

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate the function on the whole stream."""
        return self.function(x, *self._inputs)


def drop_path_scale(
    stream: Tensor, drop_prob: float, training: bool
) -> Optional[Tensor]:
    """Draw stochastic depth: a factor per sample, 0 or 1 / (1 - drop_prob).

    Args:
        stream: Stream [B, ...].
        drop_prob: Probability to drop the branch of a sample, in [0, 1).
        training: Whether drop path is active.

    Returns:
        Float tensor [B], or None where drop path is off.
    """
    if not training or not drop_prob:
        return None
    keep = 1.0 - drop_prob
    drawn = torch.rand(stream.shape[0], device=stream.device)
    return drawn.add_(keep).floor_().div_(keep)
