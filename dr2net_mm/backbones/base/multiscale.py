"""Base of multiscale transformers: runs of branches, transitions between them."""

from abc import ABC, abstractmethod
from functools import partial
from typing import List, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor, nn

from dr2net_mm.reversible import Branch

from .counted_costs import CountedCosts, padded_plan
from .dual_residual import DualResidualBackbone

Size = Tuple[int, ...]


class Item(NamedTuple):
    """Layers after the shape-preserving blocks of a run.

    Attributes:
        scale: Number of a scale whose output is taken here, or None.
        block: Number of a transition block, or None.
    """

    scale: Optional[int] = None
    block: Optional[int] = None


class Run(NamedTuple):
    """Shape-preserving blocks, which are one stage, and what follows them.

    Attributes:
        blocks: Numbers of these blocks; there may be none.
        tail: Outputs and transition blocks, in order.
    """

    blocks: List[int]
    tail: List[Item]


def runs_of(
    transitions: Sequence[bool], ends: Sequence[int], wanted: Sequence[int]
) -> List[Run]:
    """Cut a network into runs.

    Args:
        transitions: For each block, whether it changes the shape of the stream.
        ends: The last block of each scale.
        wanted: Scales whose output is returned; what follows the last is left out.
    """
    runs = [Run([], [])]
    last = ends[max(wanted)]
    for number, changes in enumerate(transitions[: last + 1]):
        if changes:
            runs[-1].tail.append(Item(block=number))
        else:
            if runs[-1].tail:
                runs.append(Run([], []))
            runs[-1].blocks.append(number)
        if number in ends and ends.index(number) in wanted:
            runs[-1].tail.append(Item(scale=ends.index(number)))
    return runs


def checked_scales(out_scales: Sequence[int], scales: int, name: str) -> List[int]:
    """Return the numbers of scales in order, negative ones counted from the end.

    Raises:
        ValueError: If there is none, or no such scale.
    """
    found = [i + scales if i < 0 else i for i in out_scales]
    if not found or not all(0 <= i < scales for i in found):
        raise ValueError(
            f'{name} has the scales 0 to {scales - 1} (or -{scales} to -1), got '
            f'out_scales={list(out_scales)}.'
        )
    return sorted(set(found))


class MultiscaleBackbone(CountedCosts, DualResidualBackbone, ABC):
    """Mixin of a multiscale transformer with shape-preserving and transition blocks.

    Every run of shape-preserving blocks is a dual-residual stage. Transition blocks,
    and norms of outputs, are recomputed in the backward pass from the streams of the
    stage before them, drop path included. A subclass has ``blocks``, and calls
    :meth:`_init_multiscale` at the end of its ``__init__``.
    """

    blocks: nn.ModuleList

    @abstractmethod
    def _block_branches(self, block: nn.Module, x: Tensor, size: Size) -> List[Branch]:
        """Return the branches of a shape-preserving block on tokens [B, N, C]."""

    @abstractmethod
    def _transition(self, block: nn.Module, x: Tensor, size: Size) -> Tensor:
        """Compute the tokens behind a transition block."""

    @abstractmethod
    def _size_behind(self, block: nn.Module, size: Size) -> Size:
        """Return the size of the grid behind a transition block."""

    @abstractmethod
    def _finish_scale(
        self, scale: int, x: Tensor, size: Size
    ) -> Tuple[Tensor, List[Tensor]]:
        """Return the stream as the next block sees it, and a scale's outputs."""

    @abstractmethod
    def _scale_modules(self, scale: int) -> List[nn.Module]:
        """Return the modules whose parameters an output uses."""

    def _init_multiscale(
        self, dual_residual: Optional[dict], runs: List[Run], fusions: Sequence[str]
    ) -> None:
        """Set up the dual-residual stages.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        self._runs = runs
        stages = sum(1 for run in runs if run.blocks)
        self._init_dual_residual(dual_residual, stages, fusions)

    def _run_scales(self, images: Tensor, x: Tensor, size: Size) -> List[Tensor]:
        """Compute the outputs of the wanted scales.

        Args:
            images: The input of the backbone, by which a storage plan is chosen.
            x: Embedded tokens [B, N, C].
            size: Size of their grid.
        """
        plan = self._counted_plan(images)
        outputs: List[Tensor] = []
        stage = 0
        for number, run in enumerate(self._runs):
            finish = partial(self._finish_run, run, size, number < len(self._runs) - 1)
            if run.blocks:
                branches = [
                    branch
                    for i in run.blocks
                    for branch in self._block_branches(self.blocks[i], x, size)
                ]
                made = self._run_stage(
                    stage,
                    x,
                    branches,
                    finish,
                    self._tail_modules(run),
                    padded_plan(plan, stage, branches),
                )
                stage += 1
            else:
                made = self._recomputed(finish, x)
            *taken, x = made
            outputs += taken
            for item in run.tail:
                if item.block is not None:
                    size = self._size_behind(self.blocks[item.block], size)
        # Behind the last run there is no stream.
        return [*outputs, x]

    def _finish_run(
        self, run: Run, size: Size, goes_on: bool, x: Tensor
    ) -> Tuple[Tensor, ...]:
        """Return the outputs of a run, and the stream if another run follows."""
        outputs: List[Tensor] = []
        for item in run.tail:
            if item.scale is not None:
                x, made = self._finish_scale(item.scale, x, size)
                outputs += made
            else:
                block = self.blocks[item.block]
                x, size = (
                    self._transition(block, x, size),
                    self._size_behind(block, size),
                )
        return (*outputs, x) if goes_on else tuple(outputs)

    def _tail_modules(self, run: Run) -> List[nn.Module]:
        modules: List[nn.Module] = []
        for item in run.tail:
            if item.scale is not None:
                modules += self._scale_modules(item.scale)
            else:
                modules.append(self.blocks[item.block])
        return modules
