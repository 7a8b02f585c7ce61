"""Layers of a stage after the last branch: fusion of its streams and outputs."""

from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .arithmetic import Arithmetic
from .branch import unique_parameters
from .tape import Gradients

OutputFunction = Callable[[Tensor], Tuple[Tensor, ...]]


class StageOutput:
    """Fusion of the streams, and the ordinary layers that follow a stage.

    The reversible backward recomputes it from the streams, so that patch merging and
    output norms keep nothing.

    Args:
        fusion: ``'last'`` is x_N, ``'mean'`` is (x_N + y_N) / 2, ``'concat'`` is
            [x_N, y_N] and ``'concat_yx'`` [y_N, x_N] in the last dimension.
        function: From the fused stream to a tuple of outputs; None for the fused
            stream itself.
        modules: The modules whose parameters ``function`` uses.
        graph: Whether the forward pass evaluates ``function`` with gradients enabled,
            as the backward pass does, and drops the graph. Some kernels give other
            bits without, such as attention with a learned bias.
    """

    def __init__(
        self,
        fusion: str,
        function: Optional[OutputFunction] = None,
        modules: Sequence[nn.Module] = (),
        graph: bool = False,
    ) -> None:
        self.fusion = fusion
        self.graph = graph
        self.function = function
        self.modules = modules

    def parameters(self) -> List[nn.Parameter]:
        """Return every parameter that the output uses, each once."""
        return unique_parameters(self.modules)

    def fuse(self, arithmetic: Arithmetic, x: Tensor, y: Tensor) -> Tensor:
        """Fuse the streams into a new floating-point tensor."""
        if self.fusion == 'last':
            return arithmetic.output(x)
        return self.join(arithmetic.output(x), arithmetic.output(y))

    def join(self, x: Tensor, y: Optional[Tensor] = None) -> Tensor:
        """Fuse two streams that are floating-point tensors already."""
        if self.fusion == 'last':
            return x
        if y is None:
            raise ValueError(f'fusion {self.fusion!r} needs both streams, got one.')
        if self.fusion == 'mean':
            return (x + y) * 0.5
        streams = (y, x) if self.fusion == 'concat_yx' else (x, y)
        return torch.cat(streams, dim=-1)

    def split_gradient(self, arithmetic: Arithmetic, gradient: Tensor) -> Gradients:
        """Split the fused stream's gradient into the streams', in its memory."""
        gradient = gradient.to(arithmetic.dtype)
        if self.fusion == 'last':
            return Gradients(gradient, None)
        if self.fusion == 'mean':
            return Gradients(gradient.mul_(0.5), gradient.clone())
        gx, gy = gradient.chunk(2, dim=-1)
        if self.fusion == 'concat_yx':
            gx, gy = gy, gx
        return Gradients(gx.contiguous(), gy.contiguous())

    def __call__(self, fused: Tensor) -> Tuple[Tensor, ...]:
        """Compute the outputs from the fused stream."""
        return (fused,) if self.function is None else tuple(self.function(fused))


#: Outputs of x_n, the stream behind branch n, by n.
Taps = Mapping[int, StageOutput]


def check_taps(
    taps: Optional[Taps], branches: int, stage: str
) -> Dict[int, StageOutput]:
    """Return the taps in order of their branches, checked.

    Raises:
        ValueError: If there is no branch of a number, or nothing behind it, or a tap
            takes the second stream too.
    """
    taps = dict(sorted((taps or {}).items()))
    for number, output in taps.items():
        if not 1 <= number < branches:
            raise ValueError(
                f'{stage}: a tap is behind one of the branches 1 to {branches - 1}, '
                f'got {number}; behind the last branch is stage_output.'
            )
        # y_n is in the unit of x_{n+1} there.
        if output.fusion != 'last':
            raise ValueError(
                f"{stage}: a tap takes x_{number}, so its fusion is 'last', got "
                f'{output.fusion!r}.'
            )
    return taps
