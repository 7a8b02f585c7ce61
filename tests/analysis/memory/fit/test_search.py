"""The search on memory and work that grow as those of a detector do."""

import pytest

from dr2net_mm.analysis.memory.fit.search import Search, divisors, round_down, round_up
from dr2net_mm.analysis.memory.fit.training_memory import Setting, TrainingMemory

GB = 10**9
RESTS = ('', 'encoder', 'pieces')
BACKBONE = dict(conventional=(8, 100), checkpoint=(3, 105), dr2=(1, 110))
REST = {'': (10, 0), 'encoder': (4, 20), 'pieces': (1, 25)}
LEAST, MOST = 1, 9


def count(setting):
    """Weights of 2 GB, and activations in proportion to the batch."""
    bytes_, work = (
        a + b for a, b in zip(BACKBONE[setting.backbone], REST[setting.rest])
    )
    stored = min(setting.memory_budget or 0, MOST * GB * setting.batch)
    stored = max(0, stored - LEAST * GB * setting.batch)
    work -= 10 * stored / ((MOST - LEAST) * GB * setting.batch)
    activations = bytes_ * GB * setting.batch + stored
    if setting.precision != 'fp32':
        activations //= 2
    total = 2 * GB + activations
    return TrainingMemory(GB, 0, GB, int(activations), int(total), round(1000 * work))


def best(limit, batch=2, backbones=('conventional', 'dr2'), precisions=('fp32',)):
    search = Search(
        count, int(limit * GB), lambda batch, _: (LEAST * GB * batch, MOST * GB * batch)
    )
    return search.best(batch, backbones, RESTS, precisions), search.candidates


@pytest.mark.parametrize(
    ('limit', 'setting'),
    [
        # 2 + 2 · (8 + 10): nothing else is looked at.
        (38, Setting(2, 1, 'conventional')),
        # Half the batch, for the work is the same.
        (20, Setting(1, 2, 'conventional')),
        # 2 + 8 + 4 and 2 + 1 + 10, with what is free for the budget.
        (19, Setting(1, 2, 'dr2', '', 7 * GB)),
        (6.1, Setting(2, 1, 'dr2', 'pieces')),
        (4, Setting(1, 2, 'dr2', 'pieces')),
    ],
)
def test_the_least_work_that_fits_is_found(limit, setting):
    found, candidates = best(limit)
    assert found.setting == setting
    assert found.fits and found.memory.total <= limit * GB
    better = [c for c in candidates if c.fits]
    assert min(c.memory.multiply_adds for c in better) == found.memory.multiply_adds


def test_a_checkpointed_backbone_is_one_of_the_modes():
    modes = ('conventional', 'checkpoint', 'dr2')
    found, candidates = best(16, backbones=modes)
    assert found.setting == Setting(1, 2, 'checkpoint')
    # Not taken unseen: ours stores as much as fits, and may work less.
    assert any(c.setting.backbone == 'dr2' for c in candidates)
    assert best(40, backbones=modes)[0].setting.backbone == 'conventional'


def test_a_budget_fills_what_is_free():
    found, _ = best(26, backbones=('dr2',))
    assert found.setting == Setting(2, 1, 'dr2', '', 4 * GB)
    assert found.memory.total == 26 * GB


def test_no_more_is_counted_once_everything_is_stored():
    found, candidates = best(100, backbones=('dr2',))
    assert found.setting.memory_budget >= 2 * MOST * GB
    assert len(candidates) == 2


def test_nothing_fits_and_half_precision_is_the_last_resort():
    found, candidates = best(3.5)
    assert found is None and not any(c.fits for c in candidates)
    found, _ = best(3.5, precisions=('fp32', 'bf16'))
    assert found.setting._replace(memory_budget=None) == Setting(
        1, 2, 'dr2', 'pieces', None, 'bf16'
    )
    found, _ = best(4, precisions=('fp32', 'bf16'))
    assert found.setting.precision == 'fp32'


def test_batches_are_divisors_so_that_a_step_sees_as_many_images():
    assert divisors(12) == [12, 6, 4, 3, 2, 1]
    found, _ = best(2 + 18 * 5, batch=12, backbones=('conventional',))
    assert found.setting[:2] == (4, 3)
    search = Search(count, 20 * GB, lambda batch, _: (GB * batch, 9 * GB * batch))
    found = search.best(2, ['conventional'], RESTS, ['fp32'], accumulate=3)
    assert found.setting[:2] == (1, 6)


def test_sizes_are_written_with_three_digits():
    assert round_down(12_345_678) == 12_300_000
    assert round_up(12_345_678) == 12_400_000
    assert round_down(999) == 999
