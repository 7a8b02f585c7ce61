"""Memory of ``Dr2VisionTransformer``, counted, and what its plans predict of it."""

import pytest
import torch

from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.backbones import Dr2VisionTransformer
from dr2net_mm.reversible.plan import conventional_bytes, make_plan, peak_bytes

from mmaction.models.backbones import VisionTransformer  # isort: skip

WIDE = dict(img_size=112, embed_dims=192, depth=6, num_heads=3, num_frames=16)
CLIPS = (8, 3, 16, 112, 112)


def counted(model, amp=None):
    model.to('meta')
    return measure_step(model, torch.empty(CLIPS, device='meta'), amp=amp)


@pytest.mark.parametrize('amp', [None, torch.bfloat16])
def test_a_reversible_step_takes_a_fraction_of_mmactions_memory(amp):
    plain = counted(VisionTransformer(**WIDE), amp)
    found = counted(Dr2VisionTransformer(**WIDE), amp)
    assert found.peak_bytes < plain.peak_bytes / 6
    assert found.kept_bytes < plain.kept_bytes / 20


def test_what_is_kept_grows_with_depth_by_the_remainders_alone():
    sizes = [
        counted(Dr2VisionTransformer(**dict(WIDE, depth=depth))).kept_bytes
        for depth in (6, 12)
    ]
    tokens = CLIPS[0] * 8 * 7 * 7
    remainders = 2 * 6 * tokens * WIDE['embed_dims'] // 2
    assert sizes[1] - sizes[0] == pytest.approx(remainders, rel=0.01)


@pytest.mark.parametrize('arguments', [{}, dict(init_values=0.1)], ids=str)
@pytest.mark.parametrize('budget', [0, 0.3, 0.5, 0.8, 10**12])
def test_the_predicted_peak_is_the_counted_one_within_a_tenth(budget, arguments):
    options = dict(memory_budget=budget)
    model = Dr2VisionTransformer(**WIDE, **arguments, dual_residual=options)
    costs = model.stage_costs(CLIPS[0], (8, 7, 7))
    found = counted(model).peak_bytes
    plan = make_plan(costs, budget)
    assert peak_bytes(costs, plan) == pytest.approx(found, rel=0.1)
    if budget in (0.3, 0.5, 0.8):
        assert any(plan[0]) and found <= budget * conventional_bytes(costs)


@pytest.mark.parametrize(
    'arguments',
    [{}, dict(return_feat_map=True), dict(use_mean_pooling=False)],
    ids=str,
)
def test_a_share_is_one_of_what_mmaction_takes(arguments):
    costs = Dr2VisionTransformer(**WIDE, **arguments).stage_costs(8, (8, 7, 7))
    found = counted(VisionTransformer(**WIDE, **arguments)).peak_bytes
    assert conventional_bytes(costs) == pytest.approx(found, rel=0.1)


def test_frozen_blocks_at_the_bottom_take_nothing_of_a_budget():
    model = Dr2VisionTransformer(**WIDE, dual_residual=dict(memory_budget=0.5))
    for module in (model.patch_embed, *model.blocks[:4]):
        module.requires_grad_(False)
    costs = model.stage_costs(8, (8, 7, 7))
    assert len(costs[0].steps) == 4
    found = counted(model).peak_bytes
    assert found <= 0.5 * conventional_bytes(costs)
    assert found > 0.3 * conventional_bytes(costs)
