"""Memory of a stage between its forward and its backward pass."""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .arithmetic import Arithmetic
from .branch import Branch, Piece
from .errors import ReconstructionError, TapeError
from .replay import AutocastState, RngState


class ParameterVersions:
    """Detector of parameters that change between the forward and backward pass.

    Args:
        parameters: Parameters that get a gradient.
        inputs: Further tensors that a branch depends on.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], inputs: Sequence[Tensor] = ()
    ) -> None:
        self.parameters = parameters
        self._watched = (*parameters, *inputs)
        self.versions = [tensor._version for tensor in self._watched]

    def check(self, where: str) -> None:
        """Raise a TapeError if a parameter was changed since the forward pass."""
        versions = [tensor._version for tensor in self._watched]
        if versions != self.versions:
            raise TapeError(
                f'a parameter or input of {where} was changed in place between the '
                'forward and the backward pass, so that its activations cannot be '
                'reconstructed. Call optimizer.step() and load_state_dict() only '
                "after backward(), or use backprop='stored'."
            )


class StepRecord:
    """Memory of one branch step for its backward pass.

    Args:
        arithmetic: The arithmetic of the step.
        branch: The residual branch, whose inputs are taken out of autograd's graph:
            the gradients of these leaves are returned from the step.
        pieces: The pieces that it was evaluated on.
        parameters: Its parameters that get a gradient.
        stored: Whether to keep the graphs of the branch instead of evaluating it again.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        branch: Branch,
        pieces: Sequence[Piece],
        parameters: Sequence[nn.Parameter],
        stored: bool,
    ) -> None:
        self.arithmetic = arithmetic
        leaves = [leaf(tensor) for tensor in branch.inputs()]
        self.branch = branch.with_inputs(leaves) if leaves else branch
        self.inputs = [tensor for tensor in leaves if tensor.requires_grad]
        self.pieces = pieces
        self.parameters = parameters
        self.versions = ParameterVersions(parameters, leaves)
        self.stored = stored
        self.graphs: List[Tuple[Tensor, Tensor]] = []
        self.drop_mask: Optional[Tensor] = None
        self.rng: List[Optional[RngState]] = []
        self.remainder: Any = None
        self.checksum: Optional[Tensor] = None

    def nbytes(self) -> int:
        """Return the bytes kept, without parameters, graphs and caches."""
        kept = [self.drop_mask, self.remainder]
        total: int = sum(tensor.nbytes for tensor in kept if tensor is not None)
        return total + sum(state.nbytes() for state in self.rng if state is not None)


def leaf(tensor: Tensor) -> Tensor:
    """Detach values from their history, but let them need a gradient as before."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


class Gradients(NamedTuple):
    """Gradients of the two streams; ``y`` is None where it is zero."""

    x: Tensor
    y: Optional[Tensor]


class TapOutputs:
    """Outputs of a tap on their way to the end of the stage, and their gradients.

    Args:
        outputs: The outputs, which the end of the stage returns.
        frozen: Whether nothing that they depend on needs a gradient.
    """

    def __init__(self, outputs: Sequence[Tensor], frozen: bool = False) -> None:
        self.count = len(outputs)
        self.frozen = frozen
        self.gradients: Sequence[Optional[Tensor]] = ()
        self._outputs = tuple(outputs)

    def take(self) -> Tuple[Tensor, ...]:
        """Hand the outputs out and keep none."""
        outputs, self._outputs = self._outputs, ()
        return outputs


class Tape:
    """The streams of one stage, handed from step to step, and its records.

    In the forward pass the streams are those after the last step; in the backward
    pass each step replaces them by those before it, and the gradients with them.
    All four buffers belong to the tape and are updated in place.

    Args:
        name: Name of the stage, for messages.
        autocast: Autocast settings of the forward pass.
        verify: Whether to compare checksums of reconstructed streams.
    """

    def __init__(self, name: str, autocast: AutocastState, verify: bool) -> None:
        self.name = name
        self.autocast = autocast
        self.verify = verify
        # None before the forward and after the backward pass; ``rewind`` checks it
        # before a backward step reads them.
        self.x: Tensor = None  # type: ignore[assignment]
        self.y: Tensor = None  # type: ignore[assignment]
        self.gradients: Gradients = None  # type: ignore[assignment]
        self.records: List[StepRecord] = []
        self.taps: List[TapOutputs] = []
        self.position = 0

    def advance(self, record: StepRecord) -> None:
        """Note that the streams are now those after ``record``."""
        self.records.append(record)
        self.position = len(self.records)

    def rewind(self, position: int) -> None:
        """Check that a backward step can be taken at ``position``.

        Raises:
            TapeError: If the streams are no longer there, as in a second backward
                pass, or if gradients of gradients are asked for.
        """
        if torch.is_grad_enabled():
            raise TapeError(
                f'{self.name} cannot be differentiated twice (create_graph=True): '
                'its backward pass does not record what it does. Use '
                "backprop='stored'."
            )
        if self.x is None or self.position != position:
            raise TapeError(
                f'the streams of {self.name} have already been used up: a reversible '
                'stage can be differentiated once for each forward pass. Add the '
                'losses up before calling backward(), do not use '
                "retain_graph=True, or use backprop='stored'."
            )

    def release(self) -> None:
        """Forget the streams and gradients: the backward pass is over."""
        self.x = self.y = None  # type: ignore[assignment]
        self.gradients = None  # type: ignore[assignment]

    def check(self, record: StepRecord, position: int) -> None:
        """Compare the reconstructed input of a step with its checksum.

        Raises:
            ReconstructionError: If they differ.
        """
        if record.checksum is None:
            return
        now = checksum(self.x, self.y)
        if not torch.equal(now, record.checksum):
            raise ReconstructionError(
                f'{self.name}, branch {position} ({type(record.branch).__name__}): '
                'the reconstructed streams differ from those of the forward pass. '
                'The branch does not give the same bits twice: look for '
                'non-deterministic kernels (torch.use_deterministic_algorithms(True) '
                'names them), state that it changes, or randomness from outside '
                "torch's generators."
            )

    def nbytes(self) -> int:
        """Return the bytes kept: streams, remainders, masks, generator states."""
        streams = [tensor.nbytes for tensor in (self.x, self.y) if tensor is not None]
        return sum(streams) + sum(record.nbytes() for record in self.records)


def checksum(*streams: Tensor) -> Tensor:
    """Compute two sums of each int32 stream, one weighted by position."""
    sums = []
    for stream in streams:
        flat = stream.reshape(-1).to(torch.int64)
        weights = (
            torch.arange(flat.numel(), device=flat.device).remainder_(8191).add_(1)
        )
        sums += [flat.sum(), flat.mul_(weights).sum()]
    return torch.stack(sums)
