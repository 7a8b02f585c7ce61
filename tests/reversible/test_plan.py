"""Storage plans: within the budget, worth their memory, both ends as today's modes."""

import itertools

import pytest

from dr2net_mm.reversible.branch import TokenCost
from dr2net_mm.reversible.plan import (
    RESERVE,
    StageCost,
    StepCost,
    bytes_of_budget,
    conventional_bytes,
    make_plan,
    nothing_stored,
    peak_bytes,
    relative_work,
    step_cost,
)


def stage(stream, kept, works, finish=0, outputs=0, between=0):
    steps = [
        StepCost(kept=kept, work=work, remainder=1, transient=stream) for work in works
    ]
    return StageCost(stream, outputs, steps, finish, between)


STAGES = [stage(100, 1000, [1.0] * 4), stage(50, 500, [1.0] * 4)]
EVERYTHING = [[True] * 4, [True] * 4]


def test_no_budget_is_so_small_that_a_plan_fails_and_then_nothing_is_stored():
    for budget in (0, 1, peak_bytes(STAGES, nothing_stored(STAGES))):
        assert make_plan(STAGES, budget) == nothing_stored(STAGES)


def test_a_budget_beyond_all_needs_stores_everything():
    assert make_plan(STAGES, 10**9) == EVERYTHING


@pytest.mark.parametrize('budget', range(700, 7000, 333))
def test_the_peak_of_a_plan_stays_within_its_budget(budget):
    plan = make_plan(STAGES, budget)
    assert peak_bytes(STAGES, plan) <= budget * (1 - RESERVE)


def test_a_larger_budget_never_costs_more_work():
    works = [
        relative_work(STAGES, make_plan(STAGES, budget))
        for budget in range(0, 7000, 250)
    ]
    assert works == sorted(works, reverse=True)
    assert works[0] == pytest.approx(4 / 3) and works[-1] == 1


def test_steps_that_spare_most_work_for_their_memory_are_stored_first():
    stages = [stage(10, 1000, [1.0, 5.0, 2.0])]
    base = peak_bytes(stages, nothing_stored(stages))
    plan = make_plan(stages, int((base + 1000) / (1 - RESERVE)) + 1)
    assert plan == [[False, True, False]]


def test_a_plan_is_as_good_as_any_of_its_number_of_equal_steps():
    stages = [stage(10, 100, [3.0, 1.0]), stage(5, 100, [4.0, 2.0])]
    base = peak_bytes(stages, nothing_stored(stages))
    budget = int((base + 200) / (1 - RESERVE)) + 1
    found = relative_work(stages, make_plan(stages, budget))
    every = (
        [list(marks[:2]), list(marks[2:])]
        for marks in itertools.product([False, True], repeat=4)
    )
    fitting = [p for p in every if peak_bytes(stages, p) <= budget * (1 - RESERVE)]
    assert found == min(relative_work(stages, plan) for plan in fitting)


def test_a_share_is_one_of_what_conventional_training_keeps():
    stages = [stage(10, 100, [1.0] * 2, outputs=7, between=3)]
    assert conventional_bytes(stages) == 210
    assert bytes_of_budget(stages, 0.5) == 105
    assert bytes_of_budget(stages, 500) == 500
    assert make_plan(stages, 1.0) == make_plan(stages, 210)


def test_the_peak_counts_streams_gradients_remainders_and_a_branch_at_work():
    # Forward: input, both streams, the remainder. Backward: the gradients of both.
    stages = [StageCost(100, 0, [StepCost(1000, 1.0, 7, 30)])]
    assert peak_bytes(stages, [[False]]) == 4 * 100 + 7 + 30
    assert peak_bytes(stages, [[True]]) == 4 * 100 + 7 + 30 + 1000


def test_the_layers_behind_a_stage_can_be_the_peak():
    stages = [stage(100, 1000, [1.0], finish=550), stage(50, 500, [1.0])]
    # Input of the stage, both its streams, its remainder, and the layers at work.
    assert peak_bytes(stages, nothing_stored(stages)) == 3 * 100 + 1 + 550


def test_outputs_live_until_the_forward_pass_is_over():
    bare = [stage(10, 100, [1.0]), stage(10, 100, [1.0])]
    with_maps = [bare[0]._replace(outputs=40), bare[1]]
    stored = [[True], [True]]
    assert peak_bytes(with_maps, stored) > peak_bytes(bare, stored)


def test_frozen_stages_keep_nothing_and_have_nothing_to_be_stored():
    frozen = StageCost(100, 0, ())
    plan = make_plan([frozen, STAGES[1]], 10**9)
    assert plan == [[], [True] * 4]
    alone = peak_bytes([STAGES[1]], [[True] * 4])
    assert peak_bytes([frozen, STAGES[1]], plan) == alone
    assert relative_work([frozen], [[]]) == 1


def test_the_cost_of_a_step_grows_with_its_tokens_and_falls_with_half_precision():
    cost = TokenCost(kept_values=100, transient_values=200, multiply_adds=1000)
    whole = step_cost(64, 10, cost, remainder_bits=4, piece_tokens=None)
    assert whole.kept == 64 * 400
    assert whole.transient == 64 * 800
    assert whole.remainder == 64 * 10 // 2
    # The output of a branch is kept to undo it, which conventional training does not.
    assert whole.conventional == 64 * (400 - 40)
    pieces = step_cost(64, 10, cost, remainder_bits=4, piece_tokens=16)
    assert pieces.transient == 16 * 800 and pieces.kept == whole.kept
    half = step_cost(64, 10, cost, 4, None, branch_bytes=2)
    # The view of the stream stays at four bytes.
    assert half.kept == 64 * (40 + 180)
    softmax = cost._replace(single_values=30, copied_values=20)
    assert step_cost(64, 10, softmax, 4, None, 2).kept == 64 * (120 + 2 * (70 + 20))
    assert step_cost(64, 10, softmax, 4, None).kept == whole.kept
