"""Branches that are a sequence of layers, on single tokens or on whole samples."""

import functools
import types
from math import prod
from typing import Callable, List, Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .drop_path import scale_tokens
from .estimate import estimated_cost, per_row
from .token_branch import TokenBranch

Layer = Callable[[Tensor], Tensor]


class LayersBranch(TokenBranch):
    """``F(x) = drop_path(gamma · layers(x))``, without the identity.

    Args:
        layers: Modules and functions that are applied one after the other. They keep
            the shape of what they get: tokens [..., C], or samples in their own shape.
        drop_path: The block's ``DropPath`` or ``Identity``.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        sample: Shape of a sample of the stream where its tokens see each other; None
            where each is treated by itself.
        gamma: Multiplier of every channel of the result (LayerScale), [C].
        modules: The modules whose parameters the layers use; by default the layers
            that are modules, partial calls of modules, or their methods.
        cost: Costs of each row of the stream, the numbers of its last axis; by default
            an estimate from the modules.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        drop_path: nn.Module,
        chunk: Union[None, int, str],
        sample: Optional[Sequence[int]] = None,
        gamma: Optional[nn.Parameter] = None,
        modules: Optional[Sequence[nn.Module]] = None,
        cost: Optional[TokenCost] = None,
    ) -> None:
        group = 1 if sample is None else prod(sample[:-1])
        super().__init__(drop_path, chunk, group)
        self.layers = tuple(layers)
        self.sample = None if sample is None else tuple(sample)
        self.gamma = gamma
        if modules is None:
            found = [_module_of(layer) for layer in layers]
            modules = [module for module in found if module is not None]
        self.modules = tuple(modules)
        self._cost = cost

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        found = unique_parameters(self.modules)
        return found if self.gamma is None else [*found, self.gamma]

    def set_cost(self, cost: TokenCost) -> None:
        """Take these costs of a row of the stream for the estimate."""
        self._cost = cost

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
        if self._cost is None:
            scaled = channels * (self.gamma is not None)
            self._cost = estimated_cost(self.modules, channels, scaled)
        return self._cost

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        samples = x
        if self.sample is not None and piece.index is not None:
            samples = x.view(-1, *self.sample)
        out = self.function(samples).reshape(x.shape)
        return scale_tokens(out, drop_mask, piece)

    def function(self, x: Tensor) -> Tensor:
        """Evaluate F without drop path, on tokens [..., C] or samples."""
        out = x
        for layer in self.layers:
            out = layer(out)
        return out if self.gamma is None else self.gamma * out


class DifferenceBranch(LayersBranch):
    """``F(x) = block(x) - x`` of any block that keeps the shape of its input.

    At (α, β) = (1, 0) the stage is the block's network up to rounding. Samples must not
    depend on each other.

    Args:
        block: The block, residual connections included.
        function: The block with its other arguments filled in.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        sample: Shape of a sample of the stream.
        width: Channels of the stream, which need not be its last axis.
    """

    def __init__(
        self,
        block: nn.Module,
        function: Layer,
        chunk: Union[None, int, str],
        sample: Sequence[int],
        width: int,
    ) -> None:
        cost = estimated_cost([block], width)
        tokens = prod(sample) // width
        cost = per_row(cost, tokens, prod(sample[:-1]))
        super().__init__(
            (function,), nn.Identity(), chunk, sample, modules=(block,), cost=cost
        )

    def function(self, x: Tensor) -> Tensor:
        """Evaluate ``block(x) - x``."""
        return super().function(x) - x


def channels_last(branch: LayersBranch) -> LayersBranch:
    """Adapt a branch of streams [B, C, H, W] to streams [B, H, W, C]."""
    assert branch.sample is not None, 'a branch of feature maps has a shape'
    channels, height, width = branch.sample
    whole = functools.partial(_through_maps, branch)
    wrapped = LayersBranch(
        (whole,),
        branch.drop_path,
        branch.chunk,
        (height, width, channels),
        modules=branch.modules,
    )
    rows = (channels * height, height * width)
    wrapped.set_cost(per_row(branch.cost(width), *rows))
    return wrapped


def _through_maps(branch: LayersBranch, x: Tensor) -> Tensor:
    return branch.function(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _module_of(layer: Layer) -> Optional[nn.Module]:
    """Return the module that a layer is, or is a call of."""
    called: object = layer
    if isinstance(called, functools.partial):
        called = called.func
    if isinstance(called, types.MethodType):
        called = called.__self__
    return called if isinstance(called, nn.Module) else None
