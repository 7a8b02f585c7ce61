"""Video files that cannot be read."""

import os
import signal
import time

import decord
import pytest
from mmengine.runner import Runner

from dr2net_mm.errors import DataFileError
from tests.tasks.temporal_detection.datasets.toolbox import build

RUN, JUMP = 'run', 'jump'


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        dict(
            empty=b'', garbage=b'no video at all' * 99, cut=content[: len(content) // 2]
        )[how]
    )


@pytest.mark.parametrize('how', ['empty', 'garbage', 'cut'])
@pytest.mark.parametrize('file', ['v_one.mp4', 'v_one.avi'])
def test_a_damaged_video_is_named(videos, pipeline, how, file):
    path = videos.add('one', (0, 1, RUN), frames=120, file=file)
    damage(path, how)
    dataset = build(videos.config(pipeline=pipeline()))
    with pytest.raises(DataFileError, match='blocked_videos') as error:
        dataset[0]
    assert str(path) in str(error.value)


def test_a_damaged_video_is_left_out_of_training_if_so_configured(
    videos, pipeline, log_lines
):
    damage(videos.add('bad', (0, 1, RUN)), 'cut')
    for name in ('one', 'two', 'three'):
        videos.add(name, (0, 1, RUN))
    dataset = build(videos.config(pipeline=pipeline(), unreadable_videos='drop'))
    assert dataset[0]['data_samples'].video_name != 'v_bad'
    assert list(dataset.unreadable.values()) == [str(videos.folder / 'v_bad.mp4')]
    assert any('v_bad.mp4' in line and '1 so far' in line for line in log_lines)


def test_a_test_stops_at_a_damaged_video_in_any_case(videos, pipeline):
    damage(videos.add('bad', (0, 1, RUN)), 'cut')
    videos.add('one', (0, 1, RUN))
    config = videos.config(
        pipeline=pipeline(), unreadable_videos='drop', test_mode=True
    )
    with pytest.raises(DataFileError, match='v_bad.mp4'):
        build(config)[0]


def test_training_stops_when_no_video_can_be_read(videos, pipeline):
    for name in ('one', 'two'):
        damage(videos.add(name, (0, 1, RUN)), 'cut')
    dataset = build(
        videos.config(pipeline=pipeline(), unreadable_videos='drop', max_missing=1.0)
    )
    with pytest.raises(DataFileError, match='2 of 2 videos could not be read'):
        dataset[0]


def test_a_file_of_another_length_than_annotated_is_an_error(videos, pipeline):
    path = videos.add('one', (0, 1, RUN), frames=40, duration=10.0)
    with pytest.raises(DataFileError, match='lasts 4.00 s.*says 10.00 s') as error:
        build(videos.config(pipeline=pipeline()))[0]
    assert str(path) in str(error.value)
    options = dict(duration_tolerance=None)
    build(videos.config(pipeline=pipeline(**options)))[0]


def test_an_error_of_a_later_transform_is_not_blamed_on_the_file(videos, pipeline):
    videos.add('one', (0, 1, RUN))
    steps = pipeline()
    steps[4] = dict(type='CenterCrop', crop_size=16)
    del steps[6]  # frames are not formatted
    dataset = build(videos.config(pipeline=steps, unreadable_videos='drop'))
    with pytest.raises(ValueError, match='FormatShape'):
        dataset[0]


def test_a_dataloader_with_workers_gives_batches_and_names_a_damaged_video(
    videos, pipeline
):
    for name in ('one', 'two'):
        path = videos.add(name, (0, 1, RUN))
    dataset = videos.config(pipeline=pipeline(num_frames=4), test_mode=True)
    config = dict(
        batch_size=2,
        num_workers=1,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    batch = next(iter(Runner.build_dataloader(config)))
    assert [tuple(x.shape) for x in batch['inputs']] == [(1, 3, 4, 16, 16)] * 2
    damage(path, 'cut')
    with pytest.raises(DataFileError, match='v_two.mp4'):
        next(iter(Runner.build_dataloader(config)))


def test_a_worker_may_drop_a_reader_that_its_parent_opened(videos):
    reader = decord.VideoReader(str(videos.add('one', (0, 1, RUN))), num_threads=1)
    process = os.fork()
    if process == 0:
        del reader
        os._exit(7)
    end = time.monotonic() + 60
    while (ended := os.waitpid(process, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 7
    assert len(reader) > 0
