"""Which steps store their activations, given a memory budget.

A stored step keeps the graph of its branch in the forward pass and spares the
reconstruction one evaluation of it; everything else, and every bit of the result, is
the same. The plan is a knapsack: spare as much work as fits.
"""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Union

from .branch import TokenCost

#: Budget that a user gives: bytes, or a share of what conventional training takes.
Budget = Union[int, float]

#: Work, in multiply-adds, that takes as long as moving one number to and from memory.
#: Accelerators and CPUs of the last years lie between some 20 and 200.
WORK_PER_VALUE = 64


class StepCost(NamedTuple):
    """What one residual branch costs.

    Attributes:
        kept: Bytes that it keeps where it is stored.
        work: Multiply-adds, and memory traffic in their terms, of one evaluation.
        remainder: Bytes of remainders that its β-step keeps in any case.
        transient: Bytes that its evaluation and gradient take for a while.
    """

    kept: int
    work: float
    remainder: int
    transient: int


class StageCost(NamedTuple):
    """What one stage costs.

    Attributes:
        stream: Bytes of one of its streams.
        outputs: Bytes of its outputs and of what the layers between stages keep.
        steps: Its branches.
    """

    stream: int
    outputs: int
    steps: Sequence[StepCost]


Plan = List[List[bool]]


def step_cost(
    tokens: int,
    channels: int,
    cost: TokenCost,
    remainder_bits: int,
    piece_tokens: Optional[int],
) -> StepCost:
    """Cost of a branch on a stream, at 4 bytes a number.

    Args:
        tokens: Tokens of the stream.
        channels: Numbers of a token.
        cost: Cost of the branch for each token.
        remainder_bits: Bits that its β-step keeps for each number.
        piece_tokens: Most tokens that it is evaluated on at a time; None for all.
    """
    return StepCost(
        kept=4 * cost.kept_values * tokens,
        work=float((cost.multiply_adds + WORK_PER_VALUE * cost.kept_values) * tokens),
        remainder=remainder_bits * channels * tokens // 8,
        transient=4 * cost.transient_values * min(piece_tokens or tokens, tokens),
    )


def peak_bytes(stages: Sequence[StageCost], plan: Plan) -> int:
    """Most bytes at any time of a forward and backward pass under a plan."""
    return max(_timeline(stages, plan))


def _timeline(stages: Sequence[StageCost], plan: Plan) -> Iterator[int]:
    """Bytes during each backward step, first to last."""
    below = 0
    for stage, stored in zip(stages, plan):
        kept = 0
        for cost, keep in zip(stage.steps, stored):
            kept += cost.remainder + (cost.kept if keep else 0)
            transient = 0 if keep else cost.transient
            # Both streams and both of their gradients are at work.
            yield below + 4 * stage.stream + kept + transient
        below += 2 * stage.stream + kept + stage.outputs
    yield below


def conventional_bytes(stages: Sequence[StageCost]) -> int:
    """Bytes that conventional training of the same branches keeps."""
    return sum(
        stage.outputs + sum(cost.kept for cost in stage.steps) for stage in stages
    )


def nothing_stored(stages: Sequence[StageCost]) -> Plan:
    """The plan that reconstructs every step."""
    return [[False] * len(stage.steps) for stage in stages]


def make_plan(stages: Sequence[StageCost], budget: Budget) -> Plan:
    """Choose the steps that are stored.

    Steps are taken in the order of the work that they spare for each byte, as long as
    the peak stays within the budget. Later stages come out first: they work more for
    each byte, and their memory is free again when the first stage needs most.

    Args:
        stages: Costs of all stages, in order.
        budget: Bytes (int), or a share of conventional training (float).

    Returns:
        For each stage and step, whether it is stored. Nothing is where the budget is
        below what reversible training takes.
    """
    if isinstance(budget, float):
        budget = int(budget * conventional_bytes(stages))
    plan = nothing_stored(stages)
    order = sorted(
        ((k, i) for k, stage in enumerate(stages) for i in range(len(stage.steps))),
        key=lambda place: _spared_per_byte(stages[place[0]].steps[place[1]]),
        reverse=True,
    )
    for stage, step in order:
        plan[stage][step] = True
        if peak_bytes(stages, plan) > budget:
            plan[stage][step] = False
    return plan


def _spared_per_byte(cost: StepCost) -> float:
    return cost.work / cost.kept
