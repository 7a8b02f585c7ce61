"""Frames of a whole video at equal distances."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.transforms import SampleWholeVideo
from dr2net_mm.tasks.temporal_detection.datasets.transforms.sample_whole_video import (
    whole_video_indices,
)


@pytest.mark.parametrize(
    ('total', 'wanted', 'expected'),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 4, [1, 3, 5, 7]),
        (12, 4, [1, 4, 7, 10]),
        (10, 4, [1, 3, 6, 8]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (1, 3, [0, 0, 0]),
        (5, 1, [2]),
    ],
)
def test_frames_are_the_middles_of_equal_parts(total, wanted, expected):
    assert whole_video_indices(total, wanted).tolist() == expected


@pytest.mark.parametrize('total', [1, 7, 100, 767, 768, 769, 3211, 200_003])
def test_frames_stay_in_the_video_and_where_they_belong_on_its_time_axis(total):
    indices = whole_video_indices(total, 768)
    assert len(indices) == 768
    assert (np.diff(indices) >= 0).all()
    assert indices[0] >= 0 and indices[-1] < total
    centers = (np.arange(768) + 0.5) / 768
    assert np.abs((indices + 0.5) / total - centers).max() <= 0.5 / total + 1e-9


@pytest.mark.parametrize('total', [5, 300, 767, 768, 1000, 4567])
def test_frames_are_within_one_of_the_rounded_positions_of_opentad(total):
    stride = total / 768
    positions = np.arange(768) * stride + stride / 2 - 0.5
    rounded = positions.clip(0, total - 1).round().astype(int)
    assert np.abs(whole_video_indices(total, 768) - rounded).max() <= 1


def opened(total=100, duration=10.0, **reader):
    results = dict(filename='a.mp4', total_frames=total, duration_second=duration)
    results.update(reader or dict(avg_fps=10.0))
    return results


def test_the_keys_are_what_decoding_and_formatting_transforms_expect():
    transform = TRANSFORMS.build(dict(type='SampleWholeVideo', num_frames=20))
    results = transform(opened())
    assert results['frame_inds'].dtype == np.int64
    assert (results['clip_len'], results['num_clips']) == (20, 1)
    assert results['duration_frame'] == results['feature_frame'] == 100


STREAM = SimpleNamespace(average_rate=10)
READERS = [
    dict(avg_fps=10.0),
    dict(video_reader=SimpleNamespace(fps=10.0)),
    dict(
        video_reader=SimpleNamespace(streams=SimpleNamespace(video=[STREAM])),
    ),
]


@pytest.mark.parametrize('reader', READERS)
def test_a_file_shorter_than_its_annotation_says_is_an_error(reader):
    transform = SampleWholeVideo(20, duration_tolerance=1.0)
    transform(opened(91, **reader))
    with pytest.raises(DataFileError, match=r'a.mp4 lasts 8\.\d+ s.*says 10.00 s'):
        transform(opened(89, **reader))
    with pytest.raises(DataFileError, match='1.00 s are tolerated'):
        transform(opened(111, **reader))


def test_the_larger_of_both_tolerances_counts():
    transform = SampleWholeVideo(
        20, duration_tolerance=0.5, relative_duration_tolerance=0.2
    )
    transform(opened(81))
    with pytest.raises(DataFileError, match='2.00 s are tolerated'):
        transform(opened(79))


@pytest.mark.parametrize('options', [dict(duration_tolerance=None), dict()])
def test_durations_are_compared_only_where_both_are_known(options):
    results = opened(50)
    if not options:
        del results['duration_second']
    SampleWholeVideo(20, **options)(results)
    SampleWholeVideo(20)(opened(50, video_reader=None))


@pytest.mark.parametrize('total', [0, -1])
def test_a_container_that_states_no_frames_is_an_error(total):
    with pytest.raises(DataFileError, match='a.mp4'):
        SampleWholeVideo(20)(opened(total))


def test_fewer_frames_than_asked_for_are_repeated_or_an_error():
    results = SampleWholeVideo(200)(opened(100))
    assert np.bincount(results['frame_inds']).tolist() == [2] * 100
    with pytest.raises(DataFileError, match='100 frames, but 200'):
        SampleWholeVideo(200, short_video='error')(opened(100))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_frames=0), 'num_frames'),
        (dict(num_frames=2.5), 'num_frames'),
        (dict(short_video='pad'), "'pad'"),
        (dict(duration_tolerance=-1), 'duration_tolerance'),
        (dict(relative_duration_tolerance=-1), 'relative_duration_tolerance'),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SampleWholeVideo(**options)
