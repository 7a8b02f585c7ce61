"""Ref-YouTube-VOS: windows, hidden objects, whole videos, and broken files."""

import json

import numpy as np
import pytest
from PIL import Image

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.referring_segmentation.datasets import RefYouTubeVOSDataset

FRAMES = ['00000', '00005', '00010', '00015', '00020']
TRAIN = [
    dict(type='LoadFrameFiles'),
    dict(type='LoadPaletteMasks'),
    dict(type='ResizeWindow', short=10, long=30),
    dict(type='PackReferringInputs', with_truth=True),
]
TEST = [TRAIN[0], *TRAIN[2:]]


def write_video(root, subset, name, annotated):
    images = root / subset / 'JPEGImages' / name
    images.mkdir(parents=True)
    masks = root / subset / 'Annotations' / name
    if annotated:
        masks.mkdir(parents=True)
    for number, frame in enumerate(FRAMES):
        Image.fromarray(np.full((20, 30, 3), 50 * number, np.uint8)).save(
            images / f'{frame}.jpg'
        )
        if annotated:
            # Object 2 in every frame, object 5 in the first one.
            objects = np.zeros((20, 30), np.uint8)
            objects[:, : 4 + number] = 2
            if number == 0:
                objects[5:10, 20:] = 5
            Image.fromarray(objects, 'L').convert('P').save(masks / f'{frame}.png')


def write_expressions(root, subset, videos):
    folder = root / 'meta_expressions' / subset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'meta_expressions.json').write_text(json.dumps(dict(videos=videos)))


@pytest.fixture
def youtube(tmp_path):
    expressions = {
        '0': dict(exp='A  Dog', obj_id='2'),
        '1': dict(exp='a bird', obj_id='5'),
    }
    asked = {'0': dict(exp='a dog')}
    write_expressions(
        tmp_path, 'train', {'v': dict(frames=FRAMES, expressions=expressions)}
    )
    write_expressions(
        tmp_path,
        'valid',
        {name: dict(frames=FRAMES, expressions=asked) for name in ('of_test', 'w')},
    )
    write_expressions(
        tmp_path, 'test', {'of_test': dict(frames=FRAMES, expressions=asked)}
    )
    write_video(tmp_path, 'train', 'v', True)
    write_video(tmp_path, 'valid', 'w', False)
    return tmp_path


def dataset(root, **options):
    return RefYouTubeVOSDataset(
        data_root=str(root), **{'pipeline': TRAIN, 'window_size': 2, **options}
    )


def test_windows_in_which_the_object_never_appears_are_left_out(youtube):
    data = dataset(youtube)
    found = [data.get_data_info(i) for i in range(len(data))]
    assert [(s['text'], s['frame_names']) for s in found] == [
        ('a dog', FRAMES[0:2]),
        ('a dog', FRAMES[2:4]),
        ('a dog', FRAMES[3:5]),
        ('a bird', FRAMES[0:2]),
    ]


def test_objects_are_read_once(youtube):
    dataset(youtube)
    for path in (youtube / 'train/Annotations/v').iterdir():
        path.unlink()
    assert len(dataset(youtube)) == 4


def test_a_sample_says_in_which_frames_each_object_can_be_seen(youtube):
    packed = dataset(youtube)[3]
    sample = packed['data_samples']
    assert packed['inputs'].shape == (2, 3, 10, 15)
    assert sample.frames == [0, 1]
    assert sample.gt_instances.referred.tolist() == [False, True]
    assert sample.gt_instances.visible.tolist() == [[True, True], [True, False]]
    assert sample.truth.sum(dim=(1, 2)).tolist() == [50, 0]


def test_a_hidden_object_is_not_referred_to_in_its_frame(youtube, mttr):
    pytest.importorskip('transformers')
    model = mttr.build().eval()
    samples = [dataset(youtube)[number] for number in (0, 3)]
    batch = model.data_preprocessor(
        dict(
            inputs=[sample['inputs'] for sample in samples],
            data_samples=[sample['data_samples'] for sample in samples],
        )
    )
    losses = model(**batch, mode='loss')
    visible = batch['data_samples'][1].gt_instances.visible
    del batch['data_samples'][1].gt_instances.visible
    assert visible.tolist() == [[True, True], [True, False]]
    assert losses['loss_is_referred'] != model(**batch, mode='loss')['loss_is_referred']


def test_valid_leaves_out_the_videos_of_test_and_gives_whole_videos(youtube):
    data = dataset(youtube, subset='valid', pipeline=TEST)
    assert [data.get_data_info(i)['video'] for i in range(len(data))] == ['w']
    sample = data[0]['data_samples']
    assert sample.frames == [0, 1, 2, 3, 4]
    assert (sample.video, sample.expression) == ('w', '0')
    assert sample.frame_names == FRAMES and sample.ori_shape == (20, 30)


def test_whole_videos_of_training_have_ground_truth(youtube):
    data = dataset(youtube, whole_videos=True)
    assert len(data) == 2
    assert data[1]['data_samples'].truth.shape == (5, 20, 30)


@pytest.mark.parametrize(
    'damage, message',
    [
        (
            lambda root: (root / 'train/Annotations/v/00010.png').unlink(),
            '00010.png cannot be read',
        ),
        (
            lambda root: Image.new('RGB', (30, 20)).save(
                root / 'train/Annotations/v/00010.png'
            ),
            'has 3 colors a pixel',
        ),
        (
            lambda root: (
                root / 'meta_expressions/train/meta_expressions.json'
            ).write_text('{}'),
            'no list of expressions',
        ),
    ],
)
def test_a_broken_folder_is_one_clear_line(youtube, damage, message):
    damage(youtube)
    with pytest.raises(DataFileError, match=message) as error:
        dataset(youtube)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(subset='val'), "subset is 'val'"),
        (dict(window_size=0), 'window_size is 0'),
    ],
)
def test_wrong_options_are_refused(youtube, options, message):
    with pytest.raises(DataFileError, match=message):
        dataset(youtube, **options)
