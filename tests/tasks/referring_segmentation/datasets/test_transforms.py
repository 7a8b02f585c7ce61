"""Windows, DETR's resizing rule, mirrored sentences and packing."""

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.referring_segmentation.datasets.transforms.flip_with_text import (
    mirrored,
)
from dr2net_mm.tasks.referring_segmentation.datasets.windows import (
    resized_shape,
    window_around,
    windows_of_video,
)


@pytest.mark.parametrize(
    'frame, size, length, expected',
    [
        (5, 4, 10, [3, 4, 5, 6]),
        (5, 5, 10, [3, 4, 5, 6, 7]),
        (0, 4, 10, [0, 0, 0, 1]),
        (9, 4, 10, [7, 8, 9, 9]),
        (3, 8, 2, [0, 0, 1, 1, 1, 1, 1, 1]),
        (7, 1, 10, [7]),
    ],
)
def test_a_window_has_its_frame_in_the_middle(frame, size, length, expected):
    assert window_around(frame, size, length) == expected


@pytest.mark.parametrize(
    'length, size, expected',
    [
        (6, 3, [[0, 1, 2], [3, 4, 5]]),
        (7, 3, [[0, 1, 2], [3, 4, 5], [4, 5, 6]]),
        (2, 4, [[0, 1, 1, 1]]),
    ],
)
def test_windows_cover_a_video(length, size, expected):
    assert windows_of_video(length, size) == expected


@pytest.mark.parametrize(
    'shape, expected',
    [
        ((240, 320), (320, 426)),
        ((320, 240), (426, 320)),
        ((320, 400), (320, 400)),
        # The longer side would be 851: 263 is round(576 · 320 / 700), and the
        # longer one is truncated.
        ((320, 700), (263, 575)),
        ((700, 320), (575, 263)),
        ((320, 320), (320, 320)),
    ],
)
def test_sizes_are_those_of_detr(shape, expected):
    assert resized_shape(*shape, 320, 576) == expected


def window(text='a dog'):
    generator = np.random.default_rng(0)
    masks = generator.random((2, 1, 30, 41)) > 0.5
    return dict(
        frames=[generator.integers(0, 255, (30, 40, 3), np.uint8) for _ in range(2)],
        masks=masks,
        referred=np.array([True, False]),
        truth=masks[0],
        ori_shape=(30, 41),
        annotated=[1],
        text=text,
        image_id='here',
    )


def test_masks_get_the_size_of_the_frames_even_if_theirs_was_another():
    made = TRANSFORMS.build(dict(type='ResizeWindow', short=15, long=99))(window())
    assert {frame.shape for frame in made['frames']} == {(15, 20, 3)}
    assert made['masks'].shape == (2, 1, 15, 20) and made['masks'].dtype == bool
    assert made['ori_shape'] == (30, 41)
    expected = Image.fromarray(window()['frames'][0]).resize((20, 15), Image.BILINEAR)
    np.testing.assert_array_equal(made['frames'][0], np.asarray(expected))


def test_a_frame_without_instances_can_be_resized():
    empty = dict(window(), masks=np.zeros((0, 1, 30, 41), bool))
    made = TRANSFORMS.build(dict(type='ResizeWindow', short=15, long=99))(empty)
    assert made['masks'].shape == (0, 1, 15, 20)


@pytest.mark.parametrize(
    'text, expected',
    [
        ('the left one', 'the right one'),
        ('left of the right dog', 'right of the left dog'),
        ('leftmost, then rightward', 'rightmost, then leftward'),
        ('left-handed man', 'right-handed man'),
        ('a bright light and a cleft', 'a bright light and a cleft'),
        ('right', 'left'),
    ],
)
def test_only_whole_words_are_mirrored(text, expected):
    assert mirrored(text) == expected
    assert mirrored(expected) == text


def test_a_flip_mirrors_frames_masks_and_text_together():
    before, flip = (
        window('on the left'),
        TRANSFORMS.build(dict(type='FlipWithText', prob=1)),
    )
    after = flip(window('on the left'))
    assert after['text'] == 'on the right'
    np.testing.assert_array_equal(after['frames'][1], before['frames'][1][:, ::-1])
    np.testing.assert_array_equal(after['masks'], before['masks'][..., ::-1])
    unchanged = TRANSFORMS.build(dict(type='FlipWithText', prob=0))(window('left'))
    assert unchanged['text'] == 'left'


def test_packing_keeps_what_the_model_and_the_metric_read():
    packed = TRANSFORMS.build(dict(type='PackReferringInputs', with_truth=True))(
        window()
    )
    sample = packed['data_samples']
    assert packed['inputs'].shape == (2, 3, 30, 40)
    assert packed['inputs'].dtype == torch.uint8
    assert (sample.text, sample.frames, sample.image_id) == ('a dog', [1], 'here')
    assert sample.gt_instances.masks.dtype == torch.bool
    assert torch.equal(sample.truth, sample.gt_instances.masks[0])
    bare = TRANSFORMS.build(dict(type='PackReferringInputs'))(window())
    assert 'truth' not in bare['data_samples']


def test_frames_of_files_are_read_in_order_and_a_missing_one_is_named(tmp_path):
    pictures = [np.full((5, 6, 3), level, np.uint8) for level in (10, 200)]
    paths = [str(tmp_path / f'{number}.png') for number in range(2)]
    for path, picture in zip(paths, pictures):
        Image.fromarray(picture).save(path)
    load = TRANSFORMS.build(dict(type='LoadFrameFiles'))
    made = load(dict(frame_paths=paths))
    np.testing.assert_array_equal(np.stack(made['frames']), np.stack(pictures))
    assert made['annotated'] == [0, 1]
    with pytest.raises(DataFileError, match='9.png cannot be read'):
        load(dict(frame_paths=[str(tmp_path / '9.png')]))


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(type='FlipWithText', prob=2), 'prob is 2'),
        (dict(type='ResizeWindow', short=20, long=10), 'short is 20 and long 10'),
    ],
)
def test_wrong_options_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(config)
