import pytest
from mmengine.registry import HOOKS

from dr2net_mm.errors import UserError
from dr2net_mm.experiments.queue import queue_order
from dr2net_mm.experiments.rows import FIRST, ROWS, by_importance, row_named
from dr2net_mm.experiments.run_config import counted_memory, run_config
from dr2net_mm.experiments.tasks import TASKS, task_named

CLASSIFICATION = TASKS['classification']


@pytest.mark.parametrize('name', ROWS)
def test_every_row_s_hook_accepts_its_path(name):
    hook = ROWS[name].hook(end_iter=100)
    if ROWS[name].network != 'dual_residual':
        assert hook is None
        return
    schedule = HOOKS.build(hook).schedule_of_run(max_iters=125)
    assert schedule.coefficients(0) == ROWS[name].start
    assert schedule.coefficients(124) == (ROWS[name].end or ROWS[name].start)


def test_a_queue_takes_all_rows_of_a_seed_before_the_next_the_important_ones_first():
    runs = queue_order(['logarithmic', 'frozen', 'conventional'], [0, 1])
    assert [tuple(run) for run in runs] == [
        ('conventional', 0),
        ('frozen', 0),
        ('logarithmic', 0),
        ('conventional', 1),
        ('frozen', 1),
        ('logarithmic', 1),
    ]
    assert by_importance(list(ROWS))[: len(FIRST)] == list(FIRST)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"row 'vanila' is unknown; accepted: frozen"):
        row_named('vanila')
    with pytest.raises(UserError, match=r"task 'nlp' is unknown; accepted: class"):
        task_named('nlp')


def test_a_row_changes_the_backbone_and_the_hooks_and_nothing_of_the_recipe():
    plain = run_config(CLASSIFICATION, ROWS['conventional'], 3, 10)
    ours = run_config(CLASSIFICATION, ROWS['line_to_0.7'], 3, 10)
    changed = {key for key in {*plain, *ours} if plain.get(key) != ours.get(key)}
    assert changed == {'model', 'custom_hooks'}
    kept = {k: v for k, v in ours.model.items() if k != 'backbone'}
    assert kept == {k: v for k, v in plain.model.items() if k != 'backbone'}
    assert ours.randomness.seed == 3
    assert ours.val_dataloader.dataset.ann_file == 'test.json'
    assert ours.custom_hooks[0].end_iter == 16
    assert ours.custom_hooks[1].interval == 19


def test_scratch_leaves_out_the_weights_and_frozen_trains_no_block():
    scratch = run_config(CLASSIFICATION, ROWS['scratch'], 0, 10).model.backbone
    assert scratch.init_cfg is None
    assert scratch.dual_residual.to_dict() == dict(
        alpha=0.0, beta=1.0, arithmetic='float'
    )
    frozen = run_config(CLASSIFICATION, ROWS['frozen'], 0, 10).model.backbone
    assert frozen.frozen_stages == 12
    assert frozen.type == 'ConventionalTimmBackbone'


@pytest.mark.parametrize('task', TASKS.values(), ids=TASKS)
def test_every_task_has_a_conventional_and_a_reversible_row(task):
    plain = run_config(task, ROWS['conventional'], 0, 10).model.backbone
    ours = run_config(task, ROWS['dynamic'], 0, 10).model.backbone
    video = task.name == 'temporal_detection'
    assert plain.type == (
        'mmaction.SwinTransformer3D' if video else 'ConventionalTimmBackbone'
    )
    assert 'dual_residual' not in plain
    assert ours.type == ('Dr2SwinTransformer3D' if video else 'Dr2TimmBackbone')
    assert (ours.dual_residual.alpha, ours.dual_residual.beta) == (1.0, 0.1)
    assert plain.init_cfg == ours.init_cfg


def test_videos_are_reported_on_films_and_photos_that_no_other_split_shows():
    task = TASKS['temporal_detection']
    config = run_config(task, ROWS['frozen'], 0, 10)
    assert config.val_dataloader.dataset.subset == 'testing'
    assert config.val_evaluator.subset == 'testing'
    assert config.train_dataloader.dataset.subset == 'training'
    assert config.model.backbone.frozen_stages == 3
    memory = {
        name: counted_memory(ROWS[name], run_config(task, ROWS[name], 0, 10))
        for name in ('frozen', 'conventional', 'line_0.1')
    }
    peak = {name: found['peak_bytes'] for name, found in memory.items()}
    assert peak['frozen'] < peak['line_0.1'] < peak['conventional'] / 3


def test_scratch_of_a_video_network_begins_as_its_recognizer_did():
    task = TASKS['temporal_detection']
    scratch = run_config(task, ROWS['scratch'], 0, 10).model.backbone
    assert [one['type'] for one in scratch.init_cfg] == ['TruncNormal', 'Constant']


def test_reversible_rows_are_counted_far_below_the_conventional_one():
    def peak(name):
        row = ROWS[name]
        return counted_memory(row, run_config(CLASSIFICATION, row, 0, 10))['peak_bytes']

    conventional, near = peak('conventional'), peak('line_0.01')
    assert peak('frozen') < peak('dynamic') < near < conventional / 5
