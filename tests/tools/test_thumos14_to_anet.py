"""Annotations of THUMOS-14 become those of ActivityNet."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope

from dr2net_mm.tasks.temporal_detection.datasets.thumos14 import CLASSES
from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools' / 'data' / 'thumos14_to_anet.py'
FPS = 10


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


@pytest.fixture
def thumos(tmp_path):
    """Folders of both splits and of the videos, with two videos a split."""
    for split, ending in (('validation', 'val'), ('test', 'test')):
        folder = tmp_path / split
        folder.mkdir()
        for label in (*CLASSES, 'Ambiguous'):
            (folder / f'{label}_{ending}.txt').write_text('')
        name = f'video_{split}_'
        lines = {
            'CliffDiving': f'{name}0000001  0.5 2.0\n',
            'Diving': f'{name}0000001  0.5 2.0\n{name}0000002 1 1.5\n\n',
            'Ambiguous': f'{name}0000001  3.0 3.5\n{name}0000003 1.0 2.0\n',
        }
        for label, text in lines.items():
            (folder / f'{label}_{ending}.txt').write_text(text)
        for number, frames in ((1, 40), (2, 25)):
            write_video(tmp_path / 'videos', f'{name}000000{number}.mp4', frames)
    return tmp_path


def write_video(folder, name, frames):
    folder.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(
        str(folder / name), cv2.VideoWriter_fourcc(*'mp4v'), FPS, (64, 32)
    )
    for _ in range(frames):
        writer.write(np.zeros((32, 64, 3), np.uint8))
    writer.release()


@pytest.fixture
def run(tool, thumos, capfd):
    """Runs the tool on both splits and returns status, output and errors."""

    def convert(*arguments):
        options = ['--validation', thumos / 'validation', '--test', thumos / 'test']
        options += ['--videos', thumos / 'videos', '--out', thumos / 'out.json']
        status = tool.main([str(x) for x in (*options, *arguments)])
        return (status, *capfd.readouterr())

    return convert


def test_both_splits_are_written_with_the_durations_of_the_files(run, thumos):
    status, output, _ = run()
    assert status == 0
    database = json.loads((thumos / 'out.json').read_text())['database']
    assert {name: entry['subset'] for name, entry in database.items()} == {
        'video_validation_0000001': 'training',
        'video_validation_0000002': 'training',
        'video_test_0000001': 'validation',
        'video_test_0000002': 'validation',
    }
    assert database['video_test_0000001'] == dict(
        subset='validation',
        duration=4.0,
        frames=40,
        fps=10.0,
        annotations=[
            dict(segment=[0.5, 2.0], label='CliffDiving'),
            dict(segment=[0.5, 2.0], label='Diving'),
        ],
        ambiguous=[[3.0, 3.5]],
    )
    assert '4 videos, 6 segments' in output
    assert '2 with ambiguous segments only' in output


def test_the_result_is_read_by_the_data_set(run, thumos):
    run()
    init_default_scope('mmaction')
    dataset = DATASETS.build(
        dict(
            type='VideoLocalizationDataset',
            ann_file=str(thumos / 'out.json'),
            data_prefix=dict(video=str(thumos / 'videos')),
            name_prefix='',
            subset='validation',
            pipeline=[
                dict(type='DecordFileInit'),
                dict(type='SampleWholeVideo', num_frames=8),
            ],
        )
    )
    assert dataset.metainfo['classes'] == ('CliffDiving', 'Diving')
    assert [dataset[i]['duration_frame'] for i in range(2)] == [40, 25]


def test_the_wrong_video_and_named_ones_are_left_out(run, thumos):
    with open(thumos / 'test' / 'HighJump_test.txt', 'a') as file:
        file.write('video_test_0000270 1.0 2.0\n')
    status, output, _ = run('--exclude', 'video_test_0000002')
    database = json.loads((thumos / 'out.json').read_text())['database']
    assert status == 0 and '2 excluded videos' in output
    assert not {'video_test_0000270', 'video_test_0000002'} & set(database)


def test_one_split_alone_can_be_converted(tool, thumos):
    options = ['--test', thumos / 'test', '--videos', thumos / 'videos']
    assert tool.main([str(x) for x in (*options, '--out', thumos / 'one.json')]) == 0
    database = json.loads((thumos / 'one.json').read_text())['database']
    assert {entry['subset'] for entry in database.values()} == {'validation'}


def test_reversed_segments_are_kept_and_reported(run, thumos):
    (thumos / 'test' / 'LongJump_test.txt').write_text('video_test_0000001 3.0 2.0\n')
    status, output, _ = run()
    assert status == 0
    assert '1 segments do not end after they start' in output
    assert "wrong_segments='drop'" in output


@pytest.mark.parametrize(
    'line', ['video_test_0000001 1.0', 'video_test_0000001 a b', 'v 1 2 3', 'v -1 2']
)
def test_a_malformed_line_is_named(run, thumos, line):
    (thumos / 'test' / 'LongJump_test.txt').write_text(f'\n{line}\n')
    status, _, error = run()
    assert status == 2
    assert 'LongJump_test.txt, line 2' in error and line in error
    assert not (thumos / 'out.json').exists()


def test_a_missing_class_file_is_named(run, thumos):
    (thumos / 'validation' / 'LongJump_val.txt').unlink()
    status, _, error = run()
    assert status == 2
    assert 'lacks 1 of the 20' in error and 'LongJump_val.txt' in error


def test_a_file_of_an_unknown_class_is_named(run, thumos):
    (thumos / 'test' / 'Juggling_test.txt').write_text('')
    status, _, error = run()
    assert status == 2 and 'Juggling_test' in error


def test_an_annotated_video_without_a_file_is_named_with_the_remedy(run, thumos):
    (thumos / 'videos' / 'video_test_0000002.mp4').unlink()
    status, _, error = run()
    assert status == 2
    assert "'video_test_0000002'" in error and '--exclude' in error
    assert run('--exclude', 'video_test_0000002')[0] == 0


def test_a_damaged_video_is_named(run, thumos):
    (thumos / 'videos' / 'video_test_0000002.mp4').write_bytes(b'no video')
    status, _, error = run()
    assert status == 2 and 'video_test_0000002.mp4 cannot be read' in error


def test_missing_folders_and_splits_are_named(tool, thumos, run, capfd):
    status, _, error = run('--validation', str(thumos / 'nowhere'))
    assert status == 2 and 'nowhere' in error
    status, _, error = run('--videos', str(thumos / 'nowhere'))
    assert status == 2 and 'nowhere' in error
    out = str(thumos / 'out.json')
    assert tool.main(['--videos', str(thumos / 'videos'), '--out', out]) == 2
    assert '--validation, --test' in capfd.readouterr().err
