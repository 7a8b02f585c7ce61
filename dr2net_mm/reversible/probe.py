"""Stand-ins for a stage that show how exactly it is reversed.

They take the place of a :class:`~dr2net_mm.reversible.stage.DualResidualStage` for one
forward and backward pass: one is reversible and watches what it reconstructs, the
other has the gradients that a reversible backward pass should have.
"""

import copy
import dataclasses
from typing import List, Optional, Sequence, Tuple

import torch.utils.checkpoint as cp
from torch import Tensor, nn

from .base_stage import Stage, StageCall
from .branch import Branch, Piece
from .stage import DualResidualStage


class _WrappedBranch(Branch):
    """A branch that is another one."""

    def __init__(self, branch: Branch) -> None:
        self.branch = branch

    def parameters(self) -> List[nn.Parameter]:
        return self.branch.parameters()

    def inputs(self) -> Sequence[Tensor]:
        return self.branch.inputs()

    def with_inputs(self, inputs: Sequence[Tensor]) -> Branch:
        if not inputs:
            return self
        wrapper = copy.copy(self)
        wrapper.branch = self.branch.with_inputs(inputs)
        return wrapper

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        return self.branch.pieces(stream)

    def drop_mask(self, stream: Tensor) -> Optional[Tensor]:
        return self.branch.drop_mask(stream)

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        return self.branch(x, piece, drop_mask)


class Witness(_WrappedBranch):
    """A branch that compares its reconstructed input with the one it had before."""

    def __init__(self, branch: Branch) -> None:
        super().__init__(branch)
        self.forward_is_over = False
        self._seen: List[Tensor] = []
        self._squares: List[Tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Note the input of the forward pass, or compare the one reconstructed."""
        if not self.forward_is_over:
            self._seen.append(x.detach().clone())
        else:
            # The backward pass visits the pieces last to first.
            before = self._seen.pop().double()
            difference = x.detach().double() - before
            self._squares.append((difference.square().sum(), before.square().sum()))
        return super().__call__(x, piece, drop_mask)

    def with_inputs(self, inputs: Sequence[Tensor]) -> Branch:
        """Return the same branch of other tensors."""
        # Itself and no copy, because it is asked for the error; it is made for one
        # pass, and the branch that it watches stays as it was.
        self.branch = self.branch.with_inputs(inputs)
        return self

    def error(self) -> Optional[float]:
        """Return ``|x̂ - x| / |x|`` over all pieces; None without a reconstruction."""
        if not self._squares:
            return None
        squares, reference = (float(sum(column)) for column in zip(*self._squares))
        if squares == 0:
            return 0.0
        return (squares / reference) ** 0.5 if reference else float('inf')


class WatchedStage(Stage):
    """The reversible stage, which finds out how well its input is reconstructed.

    More precisely the input of its first branch that a gradient reaches, as that branch
    sees it at the end of the stage's backward pass. It keeps a copy of that.

    Args:
        stage: The stage that it stands for, of which nothing is changed.
    """

    def __init__(self, stage: DualResidualStage) -> None:
        self.name = stage.name
        self._stage = DualResidualStage(stage.name, stage.options)
        self._witness: Optional[Witness] = None

    def run(self, call: StageCall) -> Tuple[Tensor, ...]:
        """Compute the outputs of the stage, watching its first branch."""
        branches = list(call.branches)
        stored = list(call.stored or [False] * len(branches))
        first = _first_reached(branches, call.x)
        if first is not None:
            self._witness = branches[first] = Witness(branches[first])
            # A branch whose activations are stored is not evaluated again.
            stored[first] = False
        outputs = self._stage.run(call._replace(branches=branches, stored=stored))
        if self._witness is not None:
            self._witness.forward_is_over = True
        return outputs

    def error(self) -> Optional[float]:
        """Return the relative error of the reconstruction, if there was one."""
        return None if self._witness is None else self._witness.error()


def _first_reached(branches: Sequence[Branch], x: Tensor) -> Optional[int]:
    """Return the number of the first branch that a backward pass reaches."""
    if x.requires_grad:
        return 0
    for i, branch in enumerate(branches):
        sources = (*branch.parameters(), *branch.inputs())
        if any(source.requires_grad for source in sources):
            return i
    return None


class _CheckpointedBranch(_WrappedBranch):
    """A branch of which autograd keeps the input only."""

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        output: Tensor = cp.checkpoint(
            self.branch, x, piece, drop_mask, use_reentrant=False
        )
        return output


class ReferenceStage(Stage):
    """The same stage under ordinary autograd, with little memory.

    Each branch is checkpointed: its true input is kept and its activations are not.
    Gradients are those of ``backprop='stored'``, bit for bit.

    Args:
        stage: The stage that it stands for, of which nothing is changed.
    """

    def __init__(self, stage: DualResidualStage) -> None:
        options = dataclasses.replace(
            stage.options, backprop='stored', memory_budget=None
        )
        self._stage = DualResidualStage(stage.name, options)

    def run(self, call: StageCall) -> Tuple[Tensor, ...]:
        """Compute the outputs of the stage, its branches checkpointed."""
        checkpointed = [_CheckpointedBranch(branch) for branch in call.branches]
        return self._stage.run(call._replace(branches=checkpointed, stored=None))
