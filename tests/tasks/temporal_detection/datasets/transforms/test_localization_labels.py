"""Segments in seconds become targets on the time axis of a video."""

import numpy as np
import pytest
from mmaction.datasets.transforms import GenerateLocalizationLabels

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.transforms import GenerateSegmentLabels


def annotated(*segments, **more):
    annotations = [dict(segment=[s, e], label=label) for s, e, label in segments]
    return dict(video_name='v_a', duration_second=20.0, annotations=annotations, **more)


def test_segments_are_fractions_of_the_video_with_their_class_numbers():
    results = annotated((5, 10, 'run'), (0, 20, 'jump'), labels=[3, 1])
    results = GenerateSegmentLabels()(results)
    assert results['gt_bbox'].dtype == np.float32
    assert results['gt_bbox'].tolist() == [[0.25, 0.5], [0.0, 1.0]]
    assert results['gt_label'].dtype == np.int64
    assert results['gt_label'].tolist() == [3, 1]


def test_names_are_numbered_by_the_classes_that_are_given():
    results = annotated((5, 10, 'run'), (0, 20, 'jump'))
    results = GenerateSegmentLabels(classes=['jump', 'run'])(results)
    assert results['gt_label'].tolist() == [1, 0]


def test_segments_agree_with_mmactions_transform_on_features():
    frames = dict(duration_frame=600, feature_frame=592, labels=[0, 0])
    results = annotated((5, 10, 'run'), (3, 20, 'run'), **frames)
    theirs = GenerateLocalizationLabels()(dict(results))['gt_bbox']
    ours = GenerateSegmentLabels()(dict(results))['gt_bbox']
    assert np.allclose(ours, theirs) and ours[1, 1] == 1.0


def test_a_segment_outside_the_features_is_left_out_with_its_class():
    frames = dict(duration_frame=100, feature_frame=50, labels=[0, 1])
    results = annotated((12, 15, 'run'), (5, 15, 'jump'), **frames)
    results = GenerateSegmentLabels()(results)
    assert results['gt_bbox'].tolist() == [[0.5, 1.0]]
    assert results['gt_label'].tolist() == [1]


def test_a_video_without_segments_has_empty_targets():
    results = GenerateSegmentLabels()(annotated(labels=[]))
    assert results['gt_bbox'].shape == (0, 2)
    assert results['gt_label'].shape == (0,)


def test_labels_can_be_left_out():
    results = GenerateSegmentLabels(with_label=False)(annotated((5, 10, 'run')))
    assert 'gt_label' not in results


def test_class_numbers_that_are_nowhere_are_an_error():
    with pytest.raises(DataFileError, match="'v_a' comes without class numbers"):
        GenerateSegmentLabels()(annotated((5, 10, 'run')))


def test_an_unknown_class_is_named_with_its_video():
    with pytest.raises(DataFileError, match="'v_a' has the class 'run'"):
        GenerateSegmentLabels(classes=['jump'])(annotated((5, 10, 'run')))


@pytest.mark.parametrize(
    'wrong', [dict(duration_second=0.0), dict(duration_frame=10, feature_frame=0)]
)
def test_a_video_without_a_duration_is_an_error(wrong):
    results = {**annotated((5, 10, 'run'), labels=[0]), **wrong}
    with pytest.raises(DataFileError, match='duration of 0.0'):
        GenerateSegmentLabels()(results)
