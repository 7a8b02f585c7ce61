"""Samples of A2D-Sentences, its irregularities, and broken files."""

import numpy as np
import pytest
import torch

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.referring_segmentation.datasets import A2DSentencesDataset
from dr2net_mm.tasks.referring_segmentation.datasets.a2d_files import read_instances

PIPELINE = [
    dict(type='LoadVideoWindow'),
    dict(type='LoadA2DMasks'),
    dict(type='ResizeWindow', short=24, long=40),
    dict(type='PackReferringInputs', with_truth=True),
]


def dataset(root, subset='train', **options):
    return A2DSentencesDataset(
        data_root=str(root), subset=subset, **{'pipeline': PIPELINE, **options}
    )


def test_a_sample_is_a_sentence_and_a_frame_that_has_its_instance(a2d):
    data = dataset(a2d)
    found = [data.get_data_info(i) for i in range(len(data))]
    assert [(s['image_id'], s['text']) for s in found] == [
        ('v_first_f_2_i_1_s_0', 'a dog, running left'),
        ('v_first_f_7_i_1_s_0', 'a dog, running left'),
        ('v_first_f_11_i_1_s_0', 'a dog, running left'),
        ('v_first_f_2_i_3_s_1', 'a bird'),
        ('v_first_f_7_i_3_s_1', 'a bird'),
        ('v_second_f_5_i_1_s_2', 'a bird on the right'),
    ]


def test_two_sentences_for_one_instance_have_different_image_ids(a2d):
    data = dataset(a2d, 'test')
    ids = [data.get_data_info(i)['image_id'] for i in range(len(data))]
    assert len(ids) == len(set(ids)) == 2


def test_the_annotated_frame_stands_in_the_middle_of_the_window(a2d, a2d_tools):
    sample = dataset(a2d, window_size=5)[1]
    # File 00007 is frame 6 from 0; levels grow by 15 a frame.
    levels = sample['inputs'].float().mean(dim=(1, 2, 3))
    expected = a2d_tools.frames_of('first')[4:9].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, expected, atol=3)
    assert sample['data_samples'].frames == [2]


def test_windows_repeat_the_edges_of_a_video(a2d, a2d_tools):
    sample = dataset(a2d, 'test', window_size=8)[0]
    levels = sample['inputs'].float().mean(dim=(1, 2, 3))
    frames = a2d_tools.frames_of('third')[[7, 8, 9, 10, 11, 11, 11, 11]]
    np.testing.assert_allclose(levels, frames.mean(axis=(1, 2, 3)), atol=6)


def test_masks_are_turned_and_resized_with_the_frames(a2d, a2d_tools):
    packed = dataset(a2d)[3]
    sample = packed['data_samples']
    assert packed['inputs'].shape == (8, 3, 24, 32)
    assert sample.gt_instances.masks.shape == (2, 1, 24, 32)
    assert sample.gt_instances.referred.tolist() == [False, True]
    assert sample.ori_shape == (48, 64)
    assert torch.equal(sample.truth[0], torch.from_numpy(a2d_tools.rectangle(3)).bool())
    half = sample.gt_instances.masks[1, 0].float().mean()
    assert half == pytest.approx(sample.truth.float().mean().item(), abs=0.02)


def test_a_single_instance_is_stored_without_its_axis(a2d, a2d_tools):
    folder = a2d / 'text_annotations/a2d_annotation_with_instances'
    one = read_instances(str(folder / 'second/00005.h5'))
    two = read_instances(str(folder / 'first/00002.h5'))
    assert one.masks.shape == (1, 48, 64) and two.masks.shape == (2, 48, 64)
    np.testing.assert_array_equal(one.masks[0], a2d_tools.rectangle(1))
    np.testing.assert_array_equal(two.masks[1], a2d_tools.rectangle(3))


@pytest.fixture
def broken(tmp_path, a2d_tools):
    return a2d_tools.write(tmp_path / 'broken')


def instances(root, name):
    return root / f'text_annotations/a2d_annotation_with_instances/{name}'


@pytest.mark.parametrize(
    'damage, message',
    [
        (
            lambda root: (root / 'Release/clips320H/second.mp4').unlink(),
            'second.mp4 is missing; tools/data/check_rvos.py',
        ),
        (
            lambda root: instances(root, 'first/00002.h5').write_bytes(b'no h5'),
            '00002.h5 is no annotation of A2D',
        ),
        (
            lambda root: (root / 'text_annotations/a2d_annotation.txt').unlink(),
            'a2d_annotation.txt does not exist',
        ),
        (
            lambda root: (root / 'text_annotations/a2d_annotation.txt').write_text(
                'video_id,instance_id,query\nfirst,1,a dog, running\n'
            ),
            'line 2.*commas in a sentence need quotes',
        ),
        (
            lambda root: (root / 'Release/videoset.csv').write_text('first,0\n'),
            'line 1: .*nine columns',
        ),
        (
            lambda root: (root / 'Release/videoset.csv').write_text(VIDEOSET_ROW),
            "video 'first', which .* does not list",
        ),
    ],
)
def test_a_broken_folder_is_one_clear_line(broken, damage, message):
    damage(broken)
    with pytest.raises(DataFileError, match=message) as error:
        dataset(broken)
    assert '\n' not in str(error.value)


VIDEOSET_ROW = 'other,3,0,1,48,64,12,3,0\n'


def test_a_video_that_cannot_be_decoded_is_one_clear_line(broken):
    (broken / 'Release/clips320H/second.mp4').write_bytes(b'no video')
    with pytest.raises(DataFileError, match='second.mp4 cannot be read') as error:
        dataset(broken)[5]
    assert '\n' not in str(error.value)


def test_an_annotation_that_changed_after_loading_is_one_clear_line(broken, a2d_tools):
    data = dataset(broken)
    path = instances(broken, 'first/00002.h5')
    path.unlink()
    a2d_tools.write_masks(path, [1, 2])
    with pytest.raises(DataFileError, match=r"instances \[1, 2\].*'a bird' needs 3"):
        data[3]


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(subset='val'), "subset is 'val'"),
        (dict(window_size=0), 'window_size is 0'),
    ],
)
def test_wrong_options_are_refused(a2d, options, message):
    with pytest.raises(DataFileError, match=message):
        dataset(a2d, **options)
