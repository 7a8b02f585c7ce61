"""Features at another number of temporal positions."""

import numpy as np
import pytest

from dr2net_mm.tasks.temporal_detection.datasets.transforms import ResizeFeature


def test_positions_keep_their_place_on_the_time_axis():
    centers = (np.arange(100, dtype=np.float32) + 0.5) / 100
    features = np.stack([centers, 2 * centers])
    resized = ResizeFeature(256)(dict(raw_feature=features))['raw_feature']
    assert resized.shape == (2, 256) and resized.dtype == np.float32
    wanted = ((np.arange(256) + 0.5) / 256).clip(0.005, 0.995)
    assert np.allclose(resized, [wanted, 2 * wanted], atol=1e-6)


def test_features_of_the_wanted_length_stay_as_they_are():
    features = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    resized = ResizeFeature(9)(dict(raw_feature=features))['raw_feature']
    assert np.allclose(resized, features, atol=1e-6)


@pytest.mark.parametrize('length', [0, 2.5, None])
def test_a_wrong_length_is_named(length):
    with pytest.raises(ValueError, match=repr(length)):
        ResizeFeature(length)


@pytest.mark.parametrize('shape', [(4,), (0, 9), (2, 3, 4)])
def test_features_of_another_shape_are_an_error_that_names_the_video(shape):
    results = dict(video_name='v_a', raw_feature=np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="'v_a'"):
        ResizeFeature(8)(results)
