"""Frames, targets and meta information as a detector takes them."""

import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.registry import TRANSFORMS, init_default_scope


def results(**more):
    frames = np.arange(2 * 3 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)[:6]
    return dict(imgs=list(frames), num_clips=1, clip_len=6, video_name='v_a', **more)


def pack(data, **options):
    init_default_scope('mmaction')
    data = TRANSFORMS.build(dict(type='FormatShape', input_format='NCTHW'))(data)
    return TRANSFORMS.build(dict(type='PackVideoLocalizationInputs', **options))(data)


def test_frames_are_packed_as_bytes_in_memory_order():
    data = results()
    frames = np.stack(data['imgs'])
    inputs = pack(data)['inputs']
    assert inputs.shape == (1, 3, 6, 4, 5) and inputs.dtype == torch.uint8
    assert inputs.is_contiguous()
    assert np.array_equal(inputs[0].numpy(), frames.transpose(3, 0, 1, 2))


def test_targets_and_meta_information_are_in_the_data_sample():
    truth = dict(gt_bbox=np.array([[0.0, 0.5]], np.float32), gt_label=np.array([3]))
    meta = dict(
        duration_second=4.0, duration_frame=40, feature_frame=40, annotations=[]
    )
    sample = pack(results(**truth, **meta, filename='a.mp4'))['data_samples']
    assert isinstance(sample, ActionDataSample)
    assert sample.gt_instances['gt_bbox'].dtype == torch.float32
    assert sample.gt_instances['gt_label'].tolist() == [3]
    assert sample.metainfo == dict(video_name='v_a', **meta)


def test_without_targets_there_are_no_ground_truth_instances():
    sample = pack(results())['data_samples']
    assert 'gt_instances' not in sample
    assert sample.metainfo == dict(video_name='v_a')


def test_keys_and_meta_keys_can_be_chosen():
    truth = dict(gt_bbox=np.zeros((0, 2), np.float32), gt_label=np.zeros(0, np.int64))
    options = dict(keys=['gt_bbox'], meta_keys=['filename'])
    sample = pack(results(**truth, filename='a.mp4'), **options)['data_samples']
    assert sample.gt_instances.keys() == ['gt_bbox']
    assert sample.metainfo == dict(filename='a.mp4')


def test_more_than_one_clip_is_an_error_that_names_the_video():
    data = results()
    data.update(num_clips=2, clip_len=3)
    with pytest.raises(ValueError, match=r"'v_a' have the shape \[2, 3, 3, 4, 5\]"):
        pack(data)
