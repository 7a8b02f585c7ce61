"""Transforms of spheres against their formulas."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

import dr2net_mm  # noqa: F401
from tests.tasks.point_segmentation.datasets.toolbox import random_clouds


@lru_cache(maxsize=1)
def sphere():
    return random_clouds().sphere(0)


def apply(seed=0, **config):
    sample = sphere()
    before = {key: np.copy(value) for key, value in sample.items()}
    np.random.seed(seed)
    after = TRANSFORMS.build(config)(sample)
    # The sample that came in is as it was: others may hold its arrays.
    assert all(np.array_equal(sample[key], before[key]) for key in before)
    return before, after


def untouched(before, after, *changed):
    for key in set(before) - set(changed):
        assert np.array_equal(before[key], after[key]), key
    for key in changed:
        assert after[key].dtype == np.float32
        assert not np.array_equal(before[key], after[key])


def test_scaling_has_a_factor_for_each_axis():
    before, after = apply(type='PointRandomScale', scale=(0.5, 2.0))
    untouched(before, after, 'points')
    factors = after['points'] / before['points']
    np.testing.assert_allclose(factors, np.tile(factors[:1], (128, 1)), rtol=1e-4)
    assert len(set(factors[0].round(4))) == 3
    assert (factors > 0.5).all() and (factors < 2).all()


def test_rotation_turns_about_the_vertical_axis():
    before, after = apply(type='PointRandomRotate')
    untouched(before, after, 'points')
    old, new = before['points'].astype(float), after['points'].astype(float)
    np.testing.assert_array_equal(old[:, 2], new[:, 2])
    angles = np.angle((new[:, 0] + 1j * new[:, 1]) / (old[:, 0] + 1j * old[:, 1]))
    np.testing.assert_allclose(angles, angles[0], atol=1e-3)
    np.testing.assert_allclose(
        np.linalg.norm(old, axis=1), np.linalg.norm(new, axis=1), rtol=1e-5
    )


def test_jitter_is_clipped_noise():
    before, after = apply(type='PointJitter', sigma=0.05, clip=0.02)
    untouched(before, after, 'points')
    noise = after['points'] - before['points']
    assert abs(noise).max() == pytest.approx(0.02, abs=1e-6)
    assert len(np.unique(noise.round(5))) > 100


def test_contrast_blends_with_the_whole_range():
    before, after = apply(type='PointColorAutoContrast', prob=1.0)
    untouched(before, after, 'colors')
    old = before['colors'].astype(np.float64)
    low, high = old.min(0), old.max(0)
    np.random.seed(0)
    np.random.rand()
    u = np.random.rand()
    wanted = (1 - u) * old + u * 255 * (old - low) / (high - low)
    np.testing.assert_allclose(after['colors'], wanted, rtol=1e-5, atol=1e-4)


def test_contrast_of_a_single_color_changes_nothing():
    transform = TRANSFORMS.build(dict(type='PointColorAutoContrast', prob=1.0))
    colors = np.full((4, 3), 17, dtype=np.float32)
    np.testing.assert_allclose(transform(dict(colors=colors))['colors'], colors)


def test_dropped_colors_are_zero_before_they_are_normalized():
    before, after = apply(type='PointColorDrop', prob=1.0)
    untouched(before, after, 'colors')
    assert not after['colors'].any()
    normalize = TRANSFORMS.build(dict(type='PointColorNormalize'))
    wanted = -np.array([0.5136, 0.4952, 0.4492]) / np.array([0.1831, 0.1842, 0.1925])
    found = normalize(after)['colors']
    np.testing.assert_allclose(found, np.tile(wanted, (128, 1)), rtol=1e-5)


def test_colors_are_normalized_from_bytes():
    before, after = apply(type='PointColorNormalize', mean=(0.1, 0, 0), std=(2, 1, 1))
    untouched(before, after, 'colors')
    wanted = (before['colors'].astype(float) / 255 - [0.1, 0, 0]) / [2, 1, 1]
    np.testing.assert_allclose(after['colors'], wanted, rtol=1e-5)


@pytest.mark.parametrize('kind', ['PointColorAutoContrast', 'PointColorDrop'])
def test_probabilities_are_shares_of_the_samples(kind):
    done = 0
    for seed in range(100):
        before, after = apply(seed, type=kind, prob=0.2)
        done += not np.array_equal(before['colors'], after['colors'])
    # Five standard deviations are 20.
    assert 5 < done < 40
    before, after = apply(type=kind, prob=0.0)
    assert np.array_equal(before['colors'], after['colors'])


def test_packed_channels_are_position_color_height():
    before, after = apply(type='PackPoints')
    inputs, sample = after['inputs'], after['data_samples']
    assert inputs.shape == (128, 7) and inputs.dtype == torch.float32
    for key, channels in (
        ('points', slice(0, 3)),
        ('colors', slice(3, 6)),
        ('heights', slice(6, 7)),
    ):
        np.testing.assert_array_equal(inputs[:, channels].numpy(), before[key])
    for key in ('labels', 'indices', 'valid'):
        np.testing.assert_array_equal(getattr(sample, key).numpy(), before[key])
    assert sample.cloud == before['cloud']


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(type='PointRandomScale', scale=(1.1, 0.9)), 'low ≤ high'),
        (dict(type='PointRandomRotate', angle=4), 'angle is 4'),
        (dict(type='PointJitter', sigma=-1), 'sigma is -1'),
        (dict(type='PointColorDrop', prob=1.5), 'prob is 1.5'),
        (dict(type='PointColorNormalize', std=(0, 1, 1)), 'those of std above 0'),
        (dict(type='PackPoints', keys=('colors',)), "begin with 'points'"),
    ],
)
def test_wrong_arguments_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(config)
