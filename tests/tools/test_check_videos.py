"""Videos that a run would stumble over are found before it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools' / 'data' / 'check_videos.py'
CONFIG = """
default_scope = 'mmaction'
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
val_dataloader = dict(
    dataset=dict(
        type='VideoLocalizationDataset', data_root={root!r},
        ann_file='annotations.json', data_prefix=dict(video='videos'),
        subset='validation', test_mode=True,
        pipeline=[
            dict(type='DecordFileInit'),
            dict(type='SampleWholeVideo', num_frames=16, duration_tolerance=1.0),
            dict(type='DecordDecode'),
            dict(type='Resize', scale=(-1, 8)),
        ],
    )
)
train_dataloader = dict(dataset=dict(type='VideoDataset', ann_file='videos.txt'))
"""
NAMES = ('good', 'cut', 'short', 'fine')


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


@pytest.fixture
def folder(tmp_path):
    """Four videos of four seconds: one truncated, one of two seconds only."""
    (tmp_path / 'videos').mkdir()
    entry = dict(subset='validation', duration=4.0, annotations=[])
    database = {name: entry for name in NAMES}
    (tmp_path / 'annotations.json').write_text(json.dumps(dict(database=database)))
    (tmp_path / 'config.py').write_text(CONFIG.format(root=str(tmp_path)))
    for name in NAMES:
        path = tmp_path / 'videos' / f'v_{name}.mp4'
        writer = cv2.VideoWriter(
            str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10, (64, 32)
        )
        for _ in range(20 if name == 'short' else 40):
            writer.write(np.zeros((32, 64, 3), np.uint8))
        writer.release()
        if name == 'cut':
            path.write_bytes(path.read_bytes()[:500])
    return tmp_path


@pytest.mark.parametrize('workers', ['0', '2'])
def test_unusable_videos_are_listed_with_their_reasons(tool, folder, capfd, workers):
    out = folder / 'blocked.txt'
    arguments = [str(folder / 'config.py'), '--mode', 'val', '--out', str(out)]
    assert tool.main([*arguments, '--workers', workers]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith('v_cut: ')]
    assert [line for line in lines if 'v_short: ' in line and 'lasts 2.00 s' in line]
    assert '2 of 4 videos cannot be used' in lines
    assert out.read_text().split() == ['v_cut', 'v_short']


def test_a_set_of_good_videos_passes(tool, folder, capfd):
    config = folder / 'config.py'
    text = config.read_text().replace(
        'test_mode=True,', "test_mode=True, blocked_videos=['cut', 'v_short'],"
    )
    config.write_text(text)
    assert tool.main([str(config), '--mode', 'val', '--workers', '0']) == 0
    assert '0 of 2 videos cannot be used' in capfd.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--mode', 'train'], 'videos.txt'),
        (['--mode', 'val', '--workers', '-1'], '--workers -1'),
    ],
)
def test_bad_input_is_one_line(tool, folder, capfd, arguments, message):
    assert tool.main([str(folder / 'config.py'), *arguments]) == 2
    assert message in capfd.readouterr().err


def test_another_data_set_cannot_be_checked(tool, folder, capfd, monkeypatch):
    (folder / 'videos.txt').write_text('a.mp4 0\n')
    monkeypatch.chdir(folder)
    assert tool.main([str(folder / 'config.py')]) == 2
    assert 'is a VideoDataset' in capfd.readouterr().err
