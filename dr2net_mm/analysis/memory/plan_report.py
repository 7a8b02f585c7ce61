"""The storage plan of a dual-residual backbone as text."""

import argparse
from typing import Any, Dict, List, NamedTuple, Sequence, Union

from torch import nn

from dr2net_mm.cli.output import format_table
from dr2net_mm.reversible.plan import (
    Budget,
    Plan,
    StageCost,
    bytes_of_budget,
    conventional_bytes,
    make_plan,
    nothing_stored,
    peak_bytes,
    relative_work,
)

STORED, RECONSTRUCTED = '#', '.'

#: Budgets of the table of memory against work, as shares of conventional training.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class StoragePlan(NamedTuple):
    """A plan with what it was made for.

    Attributes:
        stages: Costs of the stages.
        budget: The budget in bytes.
        steps: For each stage and step, whether it is stored.
    """

    stages: List[StageCost]
    budget: int
    steps: Plan

    def summary(self) -> Dict[str, Any]:
        """Return the predicted peak, the relative work, and the plan."""
        return dict(
            budget_bytes=self.budget,
            predicted_bytes=peak_bytes(self.stages, self.steps),
            relative_work=relative_work(self.stages, self.steps),
            plan=[''.join(_mark(keep) for keep in stage) for stage in self.steps],
        )


def _mark(stored: bool) -> str:
    return STORED if stored else RECONSTRUCTED


def memory_budget(text: str) -> Budget:
    """Parse a memory budget: a share up to 1, or bytes."""
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not 0 <= value < float('inf'):
        raise argparse.ArgumentTypeError(
            f'{text} is neither a share of conventional training in [0, 1] nor a '
            'number of bytes, such as 2e9'
        )
    if value == 0:
        return 0
    return value if value <= 1 else int(value)


def budget_label(budget: Budget) -> str:
    """Format a budget in the words of the command line."""
    return f'{budget:.2g}' if isinstance(budget, float) else f'{budget / 1e9:.3g} GB'


def stage_costs(
    backbone: nn.Module, image_size: Sequence[int], batch: int, branch_bytes: int = 4
) -> List[StageCost]:
    """Compute the costs of a dual-residual backbone's stages for a size."""
    channels = backbone.example_size()[0]
    return backbone.input_costs((batch, channels, *image_size), branch_bytes)


def storage_plan(stages: List[StageCost], budget: Budget) -> StoragePlan:
    """Return the plan that a backbone makes of its `memory_budget`."""
    steps = make_plan(stages, budget)
    return StoragePlan(stages, bytes_of_budget(stages, budget), steps)


def describe_plan(plan: StoragePlan) -> str:
    """Describe which steps are stored, and whether the budget can be kept."""
    found = plan.summary()
    conventional = conventional_bytes(plan.stages)
    lines = [
        f'budget {plan.budget / 1e9:.3f} GB '
        f'({plan.budget / conventional:.2f} of conventional, about '
        f'{conventional / 1e9:.3f} GB), predicted peak '
        f'{found["predicted_bytes"] / 1e9:.3f} GB, work '
        f'{found["relative_work"]:.2f} x conventional',
    ]
    for number, (stage, steps) in enumerate(zip(plan.stages, found['plan']), start=1):
        kept = sum(
            c.kept for c, keep in zip(stage.steps, plan.steps[number - 1]) if keep
        )
        lines.append(
            f'stage {number}  {steps or "frozen":{_longest(found["plan"])}}  '
            f'{steps.count(STORED)} of {len(steps)} steps stored, '
            f'{kept / 1e9:.3f} GB'
        )
    lines.append(
        f'{STORED} stored, {RECONSTRUCTED} reconstructed; a block is two steps, '
        'attention and feed-forward'
    )
    least = peak_bytes(plan.stages, nothing_stored(plan.stages))
    if plan.budget < least:
        lines.append(
            f'the budget is below the {least / 1e9:.3f} GB that are needed with '
            'nothing stored: a smaller chunk, or smaller images, take less'
        )
    return '\n'.join(lines)


def _longest(texts: Sequence[str]) -> int:
    return max(len('frozen'), *map(len, texts))


def trade_off(stages: List[StageCost]) -> List[Dict[str, Any]]:
    """Predict memory and work from nothing stored to everything stored."""
    budgets: List[Union[int, float]] = [0, *SHARES, 2 * conventional_bytes(stages)]
    rows: List[Dict[str, Any]] = []
    for budget in budgets:
        plan = storage_plan(stages, budget)
        row = dict(budget=budget, **plan.summary())
        if not rows or row['plan'] != rows[-1]['plan']:
            rows.append(row)
    return rows


def trade_off_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Format the rows of :func:`trade_off` as text."""
    last = len(rows) - 1
    lines = []
    for i, row in enumerate(rows):
        steps = ''.join(row['plan'])
        share = f'{row["budget"]:.1f}'
        lines.append(
            [
                'nothing stored' if i == 0 else 'all stored' if i == last else share,
                f'{steps.count(STORED)} / {len(steps)}',
                f'{row["predicted_bytes"] / 1e9:.3f}',
                f'{row["relative_work"]:.3f}',
            ]
        )
    header = ['budget', 'steps stored', 'peak [GB]', 'work']
    return format_table(header, lines)
