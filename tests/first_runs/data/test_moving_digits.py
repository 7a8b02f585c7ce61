"""Digits that move over films: sentences that hold, masks that fit, A2D's formats."""

import re

import numpy as np
import pytest

pytest.importorskip('h5py')

from dr2net_mm.errors import DataFileError  # noqa: E402
from dr2net_mm.first_runs.data.moving_digits import (  # noqa: E402
    KINDS,
    WORDS,
    DigitOptions,
    plan_clip,
    render,
    told_apart,
)
from dr2net_mm.first_runs.data.moving_digits_set import (  # noqa: E402
    SUBSETS,
    digits_of_subset,
    missing_files,
    read_digits,
    write_digit_set,
)
from dr2net_mm.tasks.referring_segmentation.datasets import (  # noqa: E402
    A2DSentencesDataset,
)

OPTIONS = DigitOptions(clips=(4, 2))
LABELS = np.arange(50) % 10


@pytest.fixture(scope='module')
def pictures():
    """Stand-ins for handwritten digits: bright rings."""
    y, x = np.mgrid[:28, :28] - 13.5
    ring = (abs(np.hypot(x, y) - 8) < 3) * np.uint8(255)
    return np.repeat(ring[None], 50, axis=0)


def clips(count=60):
    return [
        plan_clip(LABELS, [30, 40], OPTIONS, np.random.default_rng(n), n % 4)
        for n in range(count)
    ]


def test_a_sentence_holds_for_its_digit_alone_in_every_annotated_frame():
    kinds = set()
    for clip in clips():
        assert len(clip.sentences) == 2
        for sentence in clip.sentences:
            kinds.add(sentence.kind)
            found = dict(told_apart(clip.digits, sentence.kind, OPTIONS.annotated))
            assert sentence.digit in found
            meant = clip.digits[sentence.digit]
            others = [d for d in clip.digits if d is not meant]
            words = set(re.findall(r'\w+', sentence.text))
            if sentence.kind == 'digit':
                assert WORDS[meant.digit] in words
                assert all(WORDS[d.digit] not in words for d in others)
            elif sentence.kind in ('direction', 'size'):
                value = getattr(meant, sentence.kind)
                assert value in words
                assert all(getattr(d, sentence.kind) != value for d in others)
            else:
                side = words & {'left', 'right', 'top', 'bottom'}
                axis, sign = dict(
                    left=(0, 1), right=(0, -1), top=(1, 1), bottom=(1, -1)
                )[side.pop()]
                for frame in OPTIONS.annotated:
                    place = sign * meant.middle(frame)[axis]
                    assert all(place < sign * d.middle(frame)[axis] for d in others)
    assert kinds == set(KINDS)


def test_digits_stay_in_the_picture_and_masks_do_not_overlap(pictures):
    film = np.zeros((30, OPTIONS.height, OPTIONS.width, 3), np.uint8)
    for clip in clips(20):
        frames, masks = render(clip, [film, film], pictures, OPTIONS)
        assert frames.shape == (12, 48, 80, 3)
        assert masks.sum(axis=1).max() == 1
        for frame in OPTIONS.annotated:
            for number, digit in enumerate(clip.digits):
                seen = np.argwhere(masks[frame, number])
                middle = (seen.min(axis=0) + seen.max(axis=0)) / 2
                np.testing.assert_allclose(middle[::-1], digit.middle(frame), atol=3)


def test_outside_of_the_digits_the_film_is_as_it_was(pictures):
    generator = np.random.default_rng(0)
    film = generator.integers(0, 255, (30, 48, 80, 3), np.uint8)
    clip = clips(1)[0]
    frames, masks = render(clip, [film, film], pictures, OPTIONS)
    numbers = clip.first + np.arange(12)
    changed = (frames != film[numbers]).any(axis=-1)
    # The edge of an outline is transparent.
    assert (changed & ~masks.any(axis=1)).mean() < 0.05
    assert changed[masks.any(axis=1)].mean() > 0.9


def test_the_set_is_read_by_the_data_set_of_a2d_sentences(pictures, tmp_path):
    film = np.full((30, 48, 80, 3), 60, np.uint8)
    films = {subset: [film] for subset in SUBSETS}
    counts = write_digit_set(films, pictures, LABELS, tmp_path, OPTIONS)
    assert (counts['clips'], counts['sentences'], counts['samples']) == (6, 12, 24)
    pipeline = [
        dict(type='LoadVideoWindow'),
        dict(type='LoadA2DMasks'),
        dict(type='PackReferringInputs'),
    ]
    for subset, samples in (('train', 16), ('test', 8)):
        data = A2DSentencesDataset(
            data_root=str(tmp_path), subset=subset, window_size=4, pipeline=pipeline
        )
        assert len(data) == samples
        assert data[0]['inputs'].shape == (4, 3, 48, 80)
        assert data[0]['data_samples'].gt_instances.referred.sum() == 1
    assert missing_files(tmp_path) == ['tokenizer.json']
    (tmp_path / 'Release/clips320H/training_0001.mp4').unlink()
    assert 'Release/clips320H/training_0001.mp4' in missing_files(tmp_path)


def test_training_and_validation_show_different_digits():
    training, validation = (set(digits_of_subset(5000, s)) for s in SUBSETS)
    assert len(training) == 4000 and len(validation) == 1000
    assert not training & validation


def test_a_wheel_without_digits_is_one_clear_line(tmp_path):
    path = tmp_path / 'other.whl'
    path.write_bytes(b'none')
    with pytest.raises(DataFileError, match='holds no handwritten digits'):
        read_digits(path)
