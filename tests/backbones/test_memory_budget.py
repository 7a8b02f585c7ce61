"""A memory budget changes memory and time, and not a bit of the result."""

import pytest
import torch

from dr2net_mm.analysis.memory.plan_report import stage_costs, storage_plan
from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.analysis.subjects.backbones import build_backbone, reversible_backbone
from dr2net_mm.reversible.plan import conventional_bytes, peak_bytes, relative_work

SIZE = (250, 266)  # Windows and patches need padding.
SHAPE = dict(
    type='SwinTransformer',
    embed_dims=96,
    depths=(2, 2, 2, 2),
    num_heads=(3, 6, 12, 24),
    window_size=7,
)
BEYOND = 10**12


@pytest.fixture(scope='module')
def reversible(swin):
    return swin.build(drop_path_rate=0.3)


@pytest.mark.parametrize('budget', [0, 0.3, 0.6, BEYOND])
def test_gradients_are_those_without_a_budget_bit_for_bit(swin, reversible, budget):
    model = swin.build(drop_path_rate=0.3, dual_residual=dict(memory_budget=budget))
    image = swin.image()
    swin.assert_bitwise_equal(
        swin.step(model, model, image), swin.step(reversible, reversible, image)
    )


def test_gradients_of_a_budget_are_those_of_ordinary_autograd_bit_for_bit(swin):
    image = swin.image()
    stored = swin.build(dual_residual=dict(backprop='stored'))
    expected = swin.step(stored, stored, image)
    for budget in (0.5, BEYOND):
        model = swin.build(dual_residual=dict(memory_budget=budget))
        swin.assert_bitwise_equal(swin.step(model, model, image), expected)


def test_the_ends_store_nothing_and_everything(swin):
    for budget, stored in ((0, False), (BEYOND, True)):
        model = swin.build(dual_residual=dict(memory_budget=budget))
        plan = storage_plan(stage_costs(model, SIZE, 2), budget)
        assert all(keep is stored for stage in plan.steps for keep in stage)


def counted(budget, amp=None, **changes):
    """Counted peak of a step, and the plan for it."""
    options = dict(memory_budget=budget)
    model = build_backbone(reversible_backbone(dict(SHAPE, **changes), **options))
    model.to('meta')
    image = torch.empty(4, 3, *SIZE, device='meta')
    plan = storage_plan(stage_costs(model, SIZE, 4, 2 if amp else 4), budget)
    return measure_step(model, image, amp=amp).peak_bytes, plan


@pytest.mark.parametrize('budget', [0, 0.3, 0.6, BEYOND])
def test_the_predicted_peak_is_the_counted_one_within_a_tenth(budget):
    found, plan = counted(budget)
    assert peak_bytes(plan.stages, plan.steps) == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize('share', [0.3, 0.5, 0.8])
def test_the_counted_peak_stays_within_the_budget(share):
    found, plan = counted(share)
    assert found <= plan.budget
    assert any(any(stage) for stage in plan.steps)


def test_a_share_is_one_of_what_conventional_training_takes():
    from dr2net_mm.analysis.memory.command import backbone_memory

    _, plan = counted(0.5)
    (row,) = backbone_memory(SHAPE, SIZE, 4, modes=['conventional'])
    assert conventional_bytes(plan.stages) == pytest.approx(row['peak_bytes'], rel=0.1)


def test_under_autocast_a_budget_is_kept_and_spares_more_work():
    _, plan = counted(0.5)
    found, of_half = counted(plan.budget, amp=torch.bfloat16)
    assert found <= plan.budget
    work = relative_work(plan.stages, plan.steps)
    assert relative_work(of_half.stages, of_half.steps) < work


def test_frozen_stages_take_nothing_of_a_budget():
    found, plan = counted(0.6, frozen_stages=2)
    assert plan.steps[0] == plan.steps[1] == []
    assert found <= plan.budget
