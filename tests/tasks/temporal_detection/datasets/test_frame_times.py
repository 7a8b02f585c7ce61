"""Frames are picked by the time at which they are shown; pictures are upright."""

import sys

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, init_default_scope

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.frame_times import (
    frame_times,
    frames_at_equal_times,
    has_constant_rate,
)
from dr2net_mm.tasks.temporal_detection.datasets.transforms.sample_whole_video import (
    whole_video_indices,
)
from dr2net_mm.tasks.temporal_detection.datasets.video_readers import (
    FramesInOrder,
    reading_problem,
    show_upright,
)
from tests.fixtures.mp4_file import set_durations, set_rotation, write_mp4

DARK, BRIGHT = 40, 200
READERS = ['DecordFile', 'Decord', 'OpenCV']
# Four seconds of 10 frames a second, then four of 30.
SLOW, FAST = (40, 1 / 10), (120, 1 / 30)


def read(path, reader, num_frames=20, **annotation):
    """Frames [num_frames, H, W, 3] that the pipeline reads, and the sample."""
    init_default_scope('mmaction')
    sample = dict(filename=str(path), **annotation)
    for step in (
        dict(type=f'{reader}Init'),
        dict(type='SampleWholeVideo', num_frames=num_frames),
        dict(type=f'{reader.replace("File", "")}Decode'),
    ):
        sample = TRANSFORMS.build(step)(sample)
    return np.stack(sample['imgs']), sample


@pytest.fixture
def uneven(tmp_path):
    """A video with an action, bright, from 0.20 to 0.50 of its eight seconds."""
    frames = np.full((160, 32, 64, 3), DARK, np.uint8)
    frames[16:40] = BRIGHT
    path = tmp_path / 'uneven.mp4'
    write_mp4(path, frames)
    set_durations(path, [SLOW, FAST])
    return path


@pytest.mark.parametrize('reader', READERS)
def test_an_action_in_a_file_of_variable_rate_is_seen_when_it_happens(uneven, reader):
    frames, sample = read(uneven, reader, duration_second=8.0)
    bright = frames.mean(axis=(1, 2, 3)) > (DARK + BRIGHT) / 2
    shares = (np.arange(20) + 0.5) / 20
    assert (bright == ((shares > 0.2) & (shares < 0.5))).all()
    assert sample['feature_frame'] == sample['duration_frame'] == 160


def test_opencv_finds_frames_of_a_variable_rate_by_number(uneven):
    reader = FramesInOrder(str(uneven))
    levels = [reader[number].mean() for number in (15, 16, 16, 39, 40, 159, 20)]
    assert [level > 120 for level in levels] == [0, 1, 1, 1, 0, 0, 1]
    with pytest.raises(DataFileError, match='ends at frame 159, before 160'):
        reader[160]


def test_opencv_tells_the_times_where_decord_is_missing(uneven, monkeypatch):
    expected = read(uneven, 'OpenCV')[1]['frame_inds']
    monkeypatch.setitem(sys.modules, 'decord', None)
    assert (read(uneven, 'OpenCV')[1]['frame_inds'] == expected).all()


@pytest.mark.parametrize('reader', READERS)
def test_a_file_of_variable_rate_is_as_long_as_it_is_shown(uneven, reader):
    with pytest.raises(DataFileError, match='lasts 8.00 s'):
        read(uneven, reader, duration_second=16.0)


@pytest.mark.parametrize('fps', [10, 23.976, 29.97, 30, 60])
@pytest.mark.parametrize('total', [2, 40, 77])
def test_files_of_constant_rate_give_the_frames_of_before(tmp_path, fps, total):
    path = tmp_path / 'even.mp4'
    write_mp4(path, np.zeros((total, 32, 64, 3), np.uint8), fps)
    for wanted in (7, 40, 100):
        indices = read(path, 'DecordFile', wanted)[1]['frame_inds']
        assert (indices == whole_video_indices(total, wanted)).all()


@pytest.mark.parametrize('total', [5, 100, 767, 20_000])
def test_both_choices_agree_at_a_constant_rate(total):
    times = np.arange(total + 1) * 1001 / 30_000 + 0.5
    assert has_constant_rate(times)
    by_time = frames_at_equal_times(times, 768)
    assert np.abs(by_time - whole_video_indices(total, 768)).max() <= 1


def test_frames_are_those_on_screen():
    times = np.array([1.0, 2.0, 2.0, 4.0, 9.0])
    # Middles at 1.5, 2.5, ... 8.5; the second frame is never on screen.
    assert frames_at_equal_times(times, 8).tolist() == [0, 2, 2, 3, 3, 3, 3, 3]
    assert not has_constant_rate(times)


class _Reader:
    def __init__(self, spans):
        self.spans = spans

    def __len__(self):
        return len(self.spans)

    def get_frame_timestamp(self, _):
        return np.array(self.spans, np.float32)


@pytest.mark.parametrize(
    ('spans', 'total', 'expected'),
    [
        ([(0, 1), (1, 2), (2, 4)], 3, [0, 1, 2, 4]),
        ([(0, 1), (1, 2), (2, 2)], 3, [0, 1, 2, 3]),
        ([(0, 1), (2, 3), (1, 2)], 3, None),
        ([(0, 1), (np.nan, 2)], 2, None),
        ([(0, 1), (1, 2)], 3, None),
        ([(0, 1)], 1, None),
    ],
)
def test_times_that_make_no_sense_are_not_used(spans, total, expected):
    times = frame_times(dict(video_reader=_Reader(spans), total_frames=total))
    assert expected is times is None or times.tolist() == expected


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('degrees', [0, 90, 180, 270])
def test_pictures_are_turned_as_the_file_says(tmp_path, reader, degrees):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :16] = 250
    path = tmp_path / 'phone.mp4'
    write_mp4(path, np.stack([picture] * 4))
    set_rotation(path, degrees)
    frames, sample = read(path, reader, 2)
    expected = np.rot90(picture, -degrees // 90)
    assert sample['img_shape'] == expected.shape[:2]
    assert np.abs(frames.astype(int) - expected).mean() < 5


def test_a_reader_that_cannot_turn_pictures_is_named(tmp_path):
    path = tmp_path / 'side.mp4'
    write_mp4(path, np.zeros((6, 32, 64, 3), np.uint8))
    # What PIMS returns has neither decord's methods nor PyAV's streams.
    sample = dict(video_reader=object(), filename=str(path))
    show_upright(sample)
    set_rotation(path, 90)
    with pytest.raises(DataFileError, match='stored on its side.*PIMS.*DecordInit'):
        show_upright(sample)


@pytest.mark.parametrize('size', [(2, 2), (16, 2), (48, 32), (31, 33)])
def test_small_and_odd_sizes_are_read_or_named(tmp_path, size):
    path = tmp_path / 'small.mp4'
    write_mp4(path, np.full((6, *size[::-1], 3), 100, np.uint8))
    frames, _ = read(path, 'OpenCV', 3)
    assert np.abs(frames.astype(int) - 100).mean() < 8
    try:
        frames, _ = read(path, 'DecordFile', 3)
    except Exception as error:
        assert 'read it with OpenCVInit and OpenCVDecode' in reading_problem(error)
    else:
        assert np.abs(frames.astype(int) - 100).mean() < 8
