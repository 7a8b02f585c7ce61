"""Memory and work of a backbone's stages, found by a forward pass without data."""

import copy
import dataclasses
from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.reversible import Branch, DualResidualStage, Stage, StageOutput
from dr2net_mm.reversible.base_stage import StageCall
from dr2net_mm.reversible.plan import Plan, StageCost
from dr2net_mm.reversible.replay import AutocastState
from dr2net_mm.reversible.stage_output import check_taps

from .dual_residual import DualResidualBackbone

_STREAM_BYTES = 4


class CostedStage(Stage):
    """Replacement of a stage on the meta device that notes what it would cost.

    Args:
        backbone: The backbone, whose branches are costed.
        stage: The stage that it stands for.
        branch_bytes: Bytes of a number within a branch, 2 under autocast.
    """

    def __init__(
        self, backbone: nn.Module, stage: DualResidualStage, branch_bytes: int
    ) -> None:
        self.name = stage.name
        self.options = stage.options
        self.backbone = backbone
        self.branch_bytes = branch_bytes
        self.cost: Optional[StageCost] = None

    def run(self, call: StageCall) -> Tuple[Tensor, ...]:
        """Return outputs of the right shapes, and note what the stage would cost."""
        x, branches = call.x, call.branches
        stage_output = call.stage_output or StageOutput(self.options.fusion)
        tapped: List[Tensor] = []
        for tap in check_taps(call.taps, len(branches), self.name).values():
            tapped += tap(x.detach())
        saved = _SavedBytes()
        with saved:
            fused = stage_output.join(x.detach(), x.detach()).requires_grad_()
            outputs = stage_output(fused)
        channels = x.shape[-1]
        # Branches before the first one that a gradient reaches cost nothing.
        steps = self.backbone._step_costs(
            branches[_first_trained(branches, x) :],
            x.numel() // channels,
            channels,
            self.branch_bytes,
        )
        stream = _STREAM_BYTES * x.numel()
        made = sum(_STREAM_BYTES * out.numel() for out in (*tapped, *outputs))
        self.cost = StageCost(
            stream,
            outputs=made,
            steps=steps,
            finish=_STREAM_BYTES * fused.numel() + saved.total + made,
            between=saved.total,
        )
        return (*tapped, *outputs)


def _first_trained(branches: Sequence[Branch], x: Tensor) -> int:
    """Count the first branches that no gradient passes."""
    if x.requires_grad:
        return 0
    for i, branch in enumerate(branches):
        sources = (*branch.parameters(), *branch.inputs())
        if any(source.requires_grad for source in sources):
            return i
    return len(branches)


class _SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Context that adds up what autograd saves, without parameters."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set = set()
        super().__init__(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.total += storage.nbytes()
        return tensor


def on_meta(backbone: nn.Module) -> nn.Module:
    """Copy of a module on the meta device: the same layers, no memory."""
    memo = {
        id(tensor): _meta(tensor)
        for tensor in (*backbone.parameters(), *backbone.buffers())
    }
    return copy.deepcopy(backbone, memo)


def _meta(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device='meta')
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def counted_costs(
    backbone: nn.Module, shape: Sequence[int], branch_bytes: int
) -> List[StageCost]:
    """Count the costs of the stages of a backbone for inputs of a shape.

    Args:
        backbone: A dual-residual backbone, of which nothing is changed.
        shape: Shape of its input, batch first.
        branch_bytes: Bytes of a number within a branch, 2 under autocast.
    """
    twin = on_meta(backbone)
    twin.dual_residual_options = dataclasses.replace(
        twin.dual_residual_options, memory_budget=None
    )

    def make(stage: DualResidualStage) -> CostedStage:
        return CostedStage(twin, stage, branch_bytes)

    with torch.enable_grad(), torch.autocast('cpu', enabled=False):
        with twin.replaced_stages(make) as stages:
            twin(torch.empty(tuple(shape), device='meta'))
    return [stage.cost for stage in stages]


class CountedCosts(DualResidualBackbone):
    """Mixin of a backbone whose costs are counted, not derived."""

    def input_costs(
        self, shape: Sequence[int], branch_bytes: int = 4
    ) -> List[StageCost]:
        """Count memory and work of each stage for an input of a shape.

        Args:
            shape: Shape of the input, [B, C, H, W] or [B, C, T, H, W].
            branch_bytes: Bytes of a number within a branch, 2 under autocast.
        """
        return counted_costs(self, shape, branch_bytes)

    def _counted_plan(self, x: Tensor) -> Optional[Plan]:
        """Return the plan for an input ``x``, see ``memory_budget``."""
        if self.dual_residual_options.memory_budget is None:
            return None
        branch_bytes = 2 if AutocastState(x.device).enabled() else 4
        shape = tuple(x.shape)
        return self._storage_plan(
            (shape, branch_bytes), lambda: self.input_costs(shape, branch_bytes)
        )


def padded_plan(
    plan: Optional[Plan], stage: int, branches: Sequence[Branch]
) -> Optional[Plan]:
    """Extend the plan of a stage by its frozen first branches.

    Args:
        plan: A plan of counted costs, which leave those branches out.
        stage: Number of the stage.
        branches: All branches of the stage.
    """
    if plan is None:
        return None
    plan = list(plan)
    plan[stage] = [False] * (len(branches) - len(plan[stage])) + plan[stage]
    return plan
