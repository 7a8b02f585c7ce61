"""Plan of which steps store their activations, given a memory budget.

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


#: Share of a budget that is left for what the costs do not count, such as indices.
RESERVE = 0.02


class StepCost(NamedTuple):
    """Cost of one residual branch.

    Attributes:
        kept: Bytes that it keeps where it is stored.
        work: Multiply-adds, and memory traffic in their terms, of one evaluation.
        remainder: Bytes of remainders that its β-step keeps in any case.
        transient: Bytes that its evaluation and gradient take for a while.
        conventional: Bytes that conventional training keeps for it; None for those
            that it keeps where it is stored.
    """

    kept: int
    work: float
    remainder: int
    transient: int
    conventional: Optional[int] = None


class StageCost(NamedTuple):
    """Cost of one stage.

    Attributes:
        stream: Bytes of one of its streams.
        outputs: Bytes of its outputs that live until the forward pass is over, such
            as feature maps.
        steps: Its branches; none where the stage and all below it are frozen.
        finish: Bytes that the layers between this stage and the next one hold while
            they are evaluated, the stage's output as their input included.
        between: Bytes that these layers keep in conventional training.
    """

    stream: int
    outputs: int
    steps: Sequence[StepCost]
    finish: int = 0
    between: int = 0


Plan = List[List[bool]]


def step_cost(
    tokens: int,
    channels: int,
    cost: TokenCost,
    remainder_bits: int,
    piece_tokens: Optional[int],
    branch_bytes: int = 4,
    parameters: int = 0,
) -> StepCost:
    """Compute the cost of a branch on a stream.

    Args:
        tokens: Tokens of the stream.
        channels: Numbers of a token.
        cost: Cost of the branch for each token.
        remainder_bits: Bits that its β-step keeps for each number.
        piece_tokens: Most tokens that it is evaluated on at a time; None for all.
        branch_bytes: Bytes of a number within the branch, 2 under autocast.
        parameters: Numbers of its parameters.
    """
    single = channels if cost.single_values is None else cost.single_values

    def size(values: int, single: int) -> int:
        if branch_bytes == 4:
            return 4 * values
        return 4 * single + branch_bytes * (values - single + cost.copied_values)

    # Autocast copies the weights once for each piece.
    copies = parameters * branch_bytes if branch_bytes < 4 else 0
    pieces = -(-tokens // min(piece_tokens or tokens, tokens))
    conventional = cost.conventional_values
    if conventional is None:
        # The output of a branch is kept for its inversion only.
        conventional = cost.kept_values - channels
    return StepCost(
        kept=size(cost.kept_values, single) * tokens + copies * pieces,
        work=float((cost.multiply_adds + WORK_PER_VALUE * cost.kept_values) * tokens),
        remainder=remainder_bits * channels * tokens // 8,
        # Gradients pass through float32 under autocast too.
        transient=4 * cost.transient_values * min(piece_tokens or tokens, tokens),
        # What only the inversion needs is kept in float32.
        conventional=size(conventional, single - cost.kept_values + conventional)
        * tokens
        + copies,
    )


def peak_bytes(stages: Sequence[StageCost], plan: Plan) -> int:
    """Return the most bytes at any time of a step under a plan.

    Gradients of the outputs are not counted: they belong to the layers that return
    them.
    """
    kept = [_kept(stage, stored) for stage, stored in zip(stages, plan)]
    return max(*_forward(stages, kept), *_backward(stages, kept))


def _kept(stage: StageCost, stored: Sequence[bool]) -> List[int]:
    """Return the bytes that each step of a stage keeps."""
    return [
        cost.remainder + (cost.kept if keep else 0)
        for cost, keep in zip(stage.steps, stored)
    ]


def _forward(stages: Sequence[StageCost], kept: List[List[int]]) -> Iterator[int]:
    """Return the bytes during each forward step and the layers between."""
    below = 0
    for stage, sizes in zip(stages, kept):
        # The input of a stage lives beside its two streams until the stage is done.
        now = below + 3 * stage.stream
        for cost, size in zip(stage.steps, sizes):
            now += size
            yield now + cost.transient
        yield now + stage.finish
        below += stage.outputs
        if stage.steps:
            below += 2 * stage.stream + sum(sizes)


def _backward(stages: Sequence[StageCost], kept: List[List[int]]) -> Iterator[int]:
    """Return the bytes during each step of the backward pass, last stage first."""
    above = 0
    now = 0
    for stage, sizes in zip(stages, kept):
        if stage.steps:
            now += 2 * stage.stream + sum(sizes)
    for stage, sizes in zip(reversed(stages), reversed(kept)):
        if not stage.steps:
            continue
        # The gradient of the input of the stage above is there already.
        yield now + above + stage.finish
        for cost, size in zip(reversed(stage.steps), reversed(sizes)):
            # Gradients of both streams.
            yield now + 2 * stage.stream + cost.transient
            now -= size
        now -= 2 * stage.stream
        above = stage.stream


def conventional_bytes(stages: Sequence[StageCost]) -> int:
    """Return the bytes that conventional training of the same branches keeps."""
    total = 0
    for stage in stages:
        total += stage.outputs + stage.between
        for cost in stage.steps:
            kept = cost.kept if cost.conventional is None else cost.conventional
            total += kept
    return total


def relative_work(stages: Sequence[StageCost], plan: Plan) -> float:
    """Return the work of a step under a plan over that of storing everything.

    The gradient of a branch counts as two evaluations of it.
    """
    total = again = 0.0
    for stage, stored in zip(stages, plan):
        for cost, keep in zip(stage.steps, stored):
            total += 3 * cost.work
            again += 0 if keep else cost.work
    return 1 + again / total if total else 1.0


def bytes_of_budget(stages: Sequence[StageCost], budget: Budget) -> int:
    """Convert a budget to bytes, also if it is given as a share."""
    if isinstance(budget, float):
        return int(budget * conventional_bytes(stages))
    return budget


def nothing_stored(stages: Sequence[StageCost]) -> Plan:
    """Return the plan that reconstructs every step."""
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
    limit = bytes_of_budget(stages, budget) * (1 - RESERVE)
    plan = nothing_stored(stages)
    order = sorted(
        ((k, i) for k, stage in enumerate(stages) for i in range(len(stage.steps))),
        key=lambda place: _spared_per_byte(stages[place[0]].steps[place[1]]),
        reverse=True,
    )
    for stage, step in order:
        plan[stage][step] = True
        if peak_bytes(stages, plan) > limit:
            plan[stage][step] = False
    return plan


def _spared_per_byte(cost: StepCost) -> float:
    return cost.work / cost.kept
