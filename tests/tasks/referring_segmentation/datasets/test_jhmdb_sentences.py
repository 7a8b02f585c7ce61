"""JHMDB-Sentences: which frames, which masks, and broken files."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.referring_segmentation.datasets import JHMDBSentencesDataset

PIPELINE = [
    dict(type='LoadFrameFiles'),
    dict(type='LoadJHMDBMask'),
    dict(type='ResizeWindow', short=12, long=20),
    dict(type='PackReferringInputs', with_truth=True),
]


@pytest.fixture
def jhmdb(tmp_path):
    """Two videos of twelve frames; the last three of the second have no masks."""
    (tmp_path / 'jhmdb_annotation.txt').write_text(
        'video_id,query\nalpha,"a man,  in BLACK"\nbeta,a woman\n'
    )
    for video, masks in (('alpha', 12), ('beta', 9)):
        frames = tmp_path / 'Rename_Images/run' / video
        frames.mkdir(parents=True)
        for number in range(12):
            picture = np.full((24, 32, 3), 20 * number, np.uint8)
            Image.fromarray(picture).save(frames / f'{number + 1:05d}.png')
        folder = tmp_path / 'puppet_mask/run' / video
        folder.mkdir(parents=True)
        stored = np.zeros((24, 32, masks), np.uint8)
        for number in range(masks):
            stored[: number + 1, :8, number] = 1
        savemat(folder / 'puppet_mask.mat', dict(part_mask=stored))
    return tmp_path


def dataset(root, **options):
    return JHMDBSentencesDataset(data_root=str(root), pipeline=PIPELINE, **options)


def test_without_a_list_the_middles_of_the_thirds_are_taken(jhmdb):
    data = dataset(jhmdb)
    found = [data.get_data_info(i) for i in range(len(data))]
    assert [s['frame'] for s in found] == [2, 6, 10, 1, 4, 7]
    assert found[0]['text'] == 'a man, in black'
    assert len({s['image_id'] for s in found}) == 6


def test_a_window_stays_among_the_frames_that_have_masks(jhmdb):
    packed = dataset(jhmdb, window_size=6)[5]
    levels = packed['inputs'].float().mean(dim=(1, 2, 3)) / 20
    # Frames 4 … 9 from 0, of which 8 is the last one with a mask.
    assert levels.tolist() == [4, 5, 6, 7, 8, 8]
    sample = packed['data_samples']
    assert sample.frames == [3]
    assert sample.truth.sum() == 8 * 8
    assert sample.gt_instances.masks.shape == (1, 1, 12, 16)


def test_the_published_list_decides_where_there_is_one(jhmdb):
    rows = [
        [
            'beta',
            './jhmdb_sentences/Rename_Images/run/beta/00003.png',
            './jhmdb_sentences/puppet_mask/run/beta/puppet_mask.mat',
            9,
            'a woman',
        ]
    ]
    (jhmdb / 'list.json').write_text(json.dumps(rows))
    data = dataset(jhmdb, samples_file=str(jhmdb / 'list.json'))
    assert len(data) == 1
    assert data[0]['data_samples'].truth.sum() == 3 * 8


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda root: (root / 'jhmdb_annotation.txt').unlink(), 'cannot be read'),
        (
            lambda root: (root / 'jhmdb_annotation.txt').write_text('a,b\nc,d,e\n'),
            'line 2.*two columns',
        ),
        (
            lambda root: (root / 'jhmdb_annotation.txt').write_text('a,b\ngamma,d\n'),
            "no folder of the video 'gamma'",
        ),
        (
            lambda root: (root / 'puppet_mask/run/beta/puppet_mask.mat').write_bytes(
                b'none'
            ),
            'no puppet mask of JHMDB',
        ),
    ],
)
def test_a_broken_folder_is_one_clear_line(jhmdb, damage, message):
    damage(jhmdb)
    with pytest.raises(DataFileError, match=message) as error:
        dataset(jhmdb)
    assert '\n' not in str(error.value)


def test_a_list_that_is_none_is_one_clear_line(jhmdb):
    (jhmdb / 'list.json').write_text('[[1, 2]]')
    with pytest.raises(DataFileError, match='is not a list of'):
        dataset(jhmdb, samples_file=str(jhmdb / 'list.json'))
