"""Videos on disk become samples with the right targets, or an error that names them."""

import json
import pickle

import numpy as np
import pytest
import torch

from dr2net_mm.errors import DataFileError
from tests.tasks.temporal_detection.datasets.toolbox import build

RUN, JUMP = 'run', 'jump'


def names(dataset):
    return [dataset.get_data_info(i)['video_name'] for i in range(len(dataset))]


def test_a_sample_holds_the_frames_of_the_whole_video_and_normalized_targets(
    videos, pipeline
):
    videos.add('one', (1.0, 3.0, RUN), (0.5, 4.0, JUMP), frames=40)
    sample = build(videos.config(pipeline=pipeline()))[0]
    inputs, data_sample = sample['inputs'], sample['data_samples']
    assert inputs.shape == (1, 3, 16, 16, 16) and inputs.dtype == torch.uint8
    # 16 frames of 40: the middle of each 2.5.
    wanted = videos.levels(int((i + 0.5) * 2.5) for i in range(16))
    got = inputs.float().mean(dim=(0, 1, 3, 4))
    assert (got - wanted).abs().max() < 6
    truth = data_sample.gt_instances
    assert torch.equal(truth['gt_bbox'], torch.tensor([[0.25, 0.75], [0.125, 1.0]]))
    # Classes are sorted: jump, run.
    assert truth['gt_label'].tolist() == [1, 0]
    assert data_sample.metainfo == dict(
        video_name='v_one',
        duration_second=4.0,
        duration_frame=40,
        feature_frame=40,
        annotations=[
            dict(segment=[1.0, 3.0], label=RUN),
            dict(segment=[0.5, 4.0], label=JUMP),
        ],
    )


@pytest.mark.parametrize('reader', ['DecordFile', 'Decord', 'OpenCV', 'PyAV'])
@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_every_reader_of_mmaction_gives_the_same_frames(
    videos, pipeline, reader, suffix
):
    if reader == 'PyAV':
        pytest.importorskip('av')
    videos.add('one', (1.0, 3.0, RUN), frames=40, file=f'v_one{suffix}')
    config = videos.config(pipeline=pipeline(num_frames=8, reader=reader))
    got = build(config)[0]['inputs'].float().mean(dim=(0, 1, 3, 4))
    wanted = videos.levels(int((i + 0.5) * 5) for i in range(8))
    assert (got - wanted).abs().max() < 8


def test_a_video_with_fewer_frames_than_asked_for_repeats_the_nearest(videos, pipeline):
    videos.add('one', (0.5, 1.0, RUN), frames=12)
    sample = build(videos.config(pipeline=pipeline(num_frames=24)))[0]
    got = sample['inputs'].float().mean(dim=(0, 1, 3, 4))
    wanted = videos.levels(i // 2 for i in range(24))
    assert (got - wanted).abs().max() < 6
    assert sample['data_samples'].duration_frame == 12


def test_too_few_frames_are_an_error_if_so_configured(videos, pipeline):
    path = videos.add('one', (0.5, 1.0, RUN), frames=12)
    dataset = build(
        videos.config(pipeline=pipeline(num_frames=24, short_video='error'))
    )
    with pytest.raises(DataFileError, match='12 frames, but 24') as error:
        dataset[0]
    assert str(path) in str(error.value)


def test_only_the_videos_of_the_subset_are_taken(videos):
    videos.add('one', (0, 1, RUN))
    videos.add('two', (0, 1, RUN), subset='validation')
    assert names(build(videos.config())) == ['v_one']
    assert names(build(videos.config(subset='validation'))) == ['v_two']


def test_an_unknown_subset_is_an_error_that_names_those_there_are(videos):
    videos.add('one', (0, 1, RUN))
    with pytest.raises(DataFileError, match="'train'; its subsets are training"):
        build(videos.config(subset='train'))


def test_classes_are_the_same_for_every_subset(videos):
    videos.add('one', (0, 1, RUN))
    videos.add('two', (0, 1, JUMP), (1, 2, 'swim'), subset='validation')
    for subset in ('training', 'validation'):
        dataset = build(videos.config(subset=subset))
        assert dataset.metainfo['classes'] == (JUMP, RUN, 'swim')


def test_classes_of_the_config_fix_the_order(videos):
    videos.add('one', (0, 1, RUN), (1, 2, JUMP))
    dataset = build(videos.config(metainfo=dict(classes=[RUN, JUMP])))
    assert dataset.metainfo['classes'] == (RUN, JUMP)
    assert dataset.get_data_info(0)['labels'] == [0, 1]


def test_a_class_that_the_config_does_not_have_is_named_with_its_video(videos):
    videos.add('one', (0, 1, RUN), (1, 2, JUMP))
    with pytest.raises(DataFileError, match="'one'.*class 'jump'.*metainfo"):
        build(videos.config(metainfo=dict(classes=[RUN])))


@pytest.mark.parametrize(
    'file', ['v_one.mp4', 'one.mp4', 'v_one.MP4', 'v_one.avi', 'one.avi']
)
def test_a_file_is_found_by_its_id_with_any_usual_name(videos, file):
    path = videos.add('one', (0, 1, RUN), file=file)
    info = build(videos.config()).get_data_info(0)
    assert info['filename'] == str(path)
    assert info['video_name'] == 'v_one'


def test_the_preferred_of_two_files_of_a_video_is_taken(videos):
    videos.add('one', (0, 1, RUN), file='one.mp4')
    for file in ('v_one.avi', 'v_one.mkv'):
        videos.write(videos.folder / file, 10) if file.endswith('avi') else (
            videos.folder / file
        ).touch()
    dataset = build(videos.config())
    assert dataset.get_data_info(0)['filename'].endswith('v_one.mkv')
    dataset = build(videos.config(extensions=['.avi', '.mp4']))
    assert dataset.get_data_info(0)['filename'].endswith('v_one.avi')


def test_names_of_thumos_have_no_prefix(videos):
    videos.add('video_test_0000004', (0, 1, RUN), file='video_test_0000004.mp4')
    dataset = build(videos.config(name_prefix=''))
    assert names(dataset) == ['video_test_0000004']


def test_mmactions_annotation_format_is_read_too(videos):
    path = videos.add('one', (0, 1, RUN))
    entry = dict(
        duration_second=4.0,
        duration_frame=40,
        feature_frame=32,
        annotations=[dict(segment=[0, 1], label=RUN)],
    )
    videos.annotation_file.write_text(json.dumps({'v_one': entry}))
    for subset in ('training', 'validation'):
        info = build(videos.config(subset=subset)).get_data_info(0)
        assert (info['video_name'], info['filename']) == ('v_one', str(path))


def test_missing_videos_are_left_out_and_counted(videos, log_lines):
    for index in range(4):
        videos.add(f'n{index}', (0, 1, RUN), file=None if index == 2 else '')
    assert names(build(videos.config())) == ['v_n0', 'v_n1', 'v_n3']
    assert any('1 of 4 videos' in line and "'n2'" in line for line in log_lines)


@pytest.mark.parametrize(('missing', 'allowed'), [(2, 0.25), (1, 0.0), (4, 1.0)])
def test_too_many_missing_videos_are_an_error(videos, missing, allowed):
    for index in range(4):
        videos.add(f'n{index}', (0, 1, RUN), file=None if index < missing else '')
    with pytest.raises(DataFileError, match=f"{missing} of 4 videos.*'n0'") as error:
        build(videos.config(max_missing=allowed))
    assert 'data_prefix' in str(error.value)


def test_a_missing_video_folder_is_named(videos):
    videos.add('one', (0, 1, RUN))
    config = videos.config()
    config['data_prefix'] = dict(video='elsewhere')
    with pytest.raises(DataFileError, match='elsewhere.*data_prefix'):
        build(config)


def test_a_missing_annotation_file_is_named(videos):
    with pytest.raises(DataFileError, match='annotations.json'):
        build(videos.config())


@pytest.mark.parametrize('kind', ['list', 'json', 'txt'])
def test_blocked_videos_are_left_out_with_or_without_prefix(videos, kind, log_lines):
    for name in ('one', 'two', 'three'):
        videos.add(name, (0, 1, RUN))
    blocked = ['one', 'v_two']
    if kind != 'list':
        file = videos.root / f'blocked.{kind}'
        text = json.dumps(blocked) if kind == 'json' else '\n'.join(blocked)
        file.write_text(text)
        blocked = str(file)
    assert names(build(videos.config(blocked_videos=blocked))) == ['v_three']
    assert any('2 videos are blocked' in line for line in log_lines)


def test_a_segment_that_ends_a_little_late_is_cut(videos):
    videos.add('one', (3.0, 4.4, RUN), (-0.3, 1.0, RUN))
    info = build(videos.config(boundary_tolerance=0.5)).get_data_info(0)
    assert [a['segment'] for a in info['annotations']] == [[3.0, 4.0], [0.0, 1.0]]


WRONG = [
    ((3.0, 6.0), 'ends more than 1.0 s after the video'),
    ((-2.0, 3.0), 'starts more than 1.0 s before the video'),
    ((4.2, 4.9), 'lies outside the video'),
    ((3.0, 1.0), 'ends before it starts'),
    ((2.0, 2.0), 'is empty'),
    ((float('nan'), 2.0), 'is not a pair of finite numbers'),
    ((1.0, float('inf')), 'is not a pair of finite numbers'),
]


@pytest.mark.parametrize(('segment', 'reason'), WRONG)
def test_a_wrong_segment_is_an_error_that_names_it(videos, segment, reason):
    videos.add('one', (0, 1, RUN), (*segment, JUMP))
    with pytest.raises(DataFileError, match=f"'jump' in video 'one'.*{reason}"):
        build(videos.config())


@pytest.mark.parametrize(('segment', 'reason'), WRONG)
def test_a_wrong_segment_is_dropped_and_logged_if_so_configured(
    videos, segment, reason, log_lines
):
    videos.add('one', (0, 1, RUN), (*segment, JUMP), (2, 3, RUN))
    info = build(videos.config(wrong_segments='drop')).get_data_info(0)
    assert [a['segment'] for a in info['annotations']] == [[0, 1], [2, 3]]
    assert info['labels'] == [1, 1]
    assert any('1 wrong segments' in line and reason in line for line in log_lines)


@pytest.mark.parametrize('duration', [0.0, -3.0, float('nan')])
def test_a_video_without_a_duration_is_an_error(videos, duration):
    videos.add('one', (0, 1, RUN), duration=duration)
    with pytest.raises(DataFileError, match="'one' has a duration of"):
        build(videos.config())


def test_short_segments_and_empty_videos_are_filtered_in_training_only(
    videos, log_lines
):
    for subset in ('training', 'validation'):
        videos.add(f'{subset}1', (0, 0.04, RUN), (1, 2, RUN), subset=subset)
        videos.add(f'{subset}2', (0, 0.03, RUN), subset=subset)
        videos.add(f'{subset}3', subset=subset)
    filters = dict(filter_empty_gt=True, min_relative_length=0.01)
    train = build(videos.config(filter_cfg=filters))
    assert names(train) == ['v_training1']
    assert train.get_data_info(0)['annotations'] == [
        dict(segment=[1.0, 2.0], label=RUN)
    ]
    assert train.get_data_info(0)['labels'] == [0]
    assert any('2 segments' in line and '2 videos' in line for line in log_lines)
    config = videos.config(filter_cfg=filters, subset='validation', test_mode=True)
    assert len(build(config)) == 3


def test_without_filters_a_video_without_segments_has_empty_targets(videos, pipeline):
    videos.add('one')
    videos.add('two', (0, 1, RUN), subset='validation')
    sample = build(videos.config(pipeline=pipeline()))[0]['data_samples']
    assert sample.gt_instances['gt_bbox'].shape == (0, 2)
    assert sample.gt_instances['gt_label'].shape == (0,)


def test_filters_that_leave_nothing_are_an_error(videos):
    videos.add('one', (0, 0.01, RUN))
    with pytest.raises(DataFileError, match='has a segment left'):
        build(
            videos.config(
                filter_cfg=dict(filter_empty_gt=True, min_relative_length=0.01)
            )
        )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(wrong_segments='skip'), "'skip'"),
        (dict(unreadable_videos='ignore'), "'ignore'"),
        (dict(max_missing=20), '0 to 1'),
        (dict(boundary_tolerance=-1), 'at least 0'),
        (dict(filter_cfg=dict(min_size=1)), 'min_size'),
    ],
)
def test_wrong_options_are_named(videos, options, message):
    videos.add('one', (0, 1, RUN))
    with pytest.raises(ValueError, match=message):
        build(videos.config(**options))


def test_flipping_keeps_the_targets(videos, pipeline):
    videos.add('one', (1.0, 3.0, RUN))
    steps = pipeline()
    steps[5] = dict(type='Flip', flip_ratio=1.0)
    truth = build(videos.config(pipeline=steps))[0]['data_samples'].gt_instances
    assert truth['gt_bbox'].tolist() == [[0.25, 0.75]]


def test_a_dataset_can_be_sent_to_a_spawned_worker(videos, pipeline):
    videos.add('one', (0, 1, RUN))
    config = videos.config(pipeline=pipeline(), serialize_data=True)
    dataset = pickle.loads(pickle.dumps(build(config)))
    assert np.isfinite(dataset[0]['data_samples'].gt_instances['gt_bbox']).all()
