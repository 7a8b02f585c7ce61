"""RandAugment treats the frames of a clip alike."""

import random
import sys

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from dr2net_mm.tasks.temporal_detection.datasets.transforms import ClipRandAugment


def clip(frames=3, size=(24, 32)):
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    return dict(imgs=[frame.copy() for _ in range(frames)])


def seed(value):
    random.seed(value)
    np.random.seed(value)


@pytest.mark.parametrize('number', range(8))
def test_equal_frames_stay_equal(number):
    seed(number)
    frames = ClipRandAugment()(clip())['imgs']
    assert all(np.array_equal(frames[0], frame) for frame in frames[1:])
    assert frames[0].shape == (24, 32, 3) and frames[0].dtype == np.uint8


def test_clips_differ_from_one_another():
    seed(0)
    augment = ClipRandAugment()
    made = [augment(clip())['imgs'][0] for _ in range(6)]
    different = {frame.tobytes() for frame in made}
    assert len(different) > 3


def test_a_seed_repeats_a_clip():
    augment = ClipRandAugment()
    made = []
    for _ in range(2):
        seed(3)
        made.append([augment(clip())['imgs'][0] for _ in range(3)])
    assert np.array_equal(made[0], made[1])


def test_one_frame_gets_what_timm_gives_an_image():
    from PIL import Image
    from timm.data.auto_augment import rand_augment_transform

    sample = clip(frames=1)
    image = Image.fromarray(sample['imgs'][0])
    options = dict(interpolation=Image.BICUBIC)
    expected = rand_augment_transform('rand-m7-n4-mstd0.5-inc1', options)
    augment = ClipRandAugment()
    for number in range(5):
        seed(number)
        theirs = np.asarray(expected(image))
        seed(number)
        ours = augment(dict(imgs=sample['imgs']))['imgs'][0]
        assert np.array_equal(ours, theirs)


def test_frames_can_be_written_to_afterwards():
    seed(0)
    for frame in ClipRandAugment()(clip())['imgs']:
        frame[:] = 0


def test_it_is_found_from_every_scope():
    built = TRANSFORMS.build(dict(type='ClipRandAugment', policy='rand-m3-n1'))
    assert repr(built) == (
        "ClipRandAugment(policy='rand-m3-n1', interpolation='bicubic')"
    )


@pytest.mark.parametrize('policy', ['m7-n4', 'rand-q7'])
def test_an_unknown_policy_is_named_with_an_example(policy):
    with pytest.raises(ValueError, match=f'is {policy!r}.*rand-m7-n4-mstd0.5-inc1'):
        ClipRandAugment(policy=policy)


def test_an_unknown_interpolation_is_named():
    with pytest.raises(ValueError, match="is 'area'; choose one of bilinear"):
        ClipRandAugment(interpolation='area')


@pytest.mark.parametrize(
    'frame', [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)]
)
def test_frames_that_are_no_rgb_images_are_refused(frame):
    with pytest.raises(
        ValueError, match='takes RGB frames .* right after DecordDecode'
    ):
        ClipRandAugment()(dict(imgs=[frame]))


def test_without_timm_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.data.auto_augment', None)
    with pytest.raises(ImportError, match='pip install timm torchvision'):
        ClipRandAugment()
