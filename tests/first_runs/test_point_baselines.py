"""Predictions without a network, and the picture of a cloud."""

import numpy as np

from dr2net_mm.first_runs.cloud_picture import draw_cloud, projected
from dr2net_mm.first_runs.point_baselines import (
    color_and_height,
    largest_class,
    nearest_colors,
    scores_on_whole_clouds,
)
from tests.tasks.point_segmentation.datasets.toolbox import random_cloud, sampled


def clouds(*seeds):
    return [sampled(random_cloud(points=400, seed=seed), 0.3) for seed in seeds]


def test_the_largest_class_is_that_of_the_training_clouds():
    train, (cloud,) = clouds(0, 1), clouds(2)
    labels = np.concatenate([one.labels for one in train])
    counts = [(labels == i).sum() for i in range(3)]
    (found,) = largest_class(train, [cloud])
    assert set(found.tolist()) == {int(np.argmax(counts))} and len(found) == len(cloud)
    share = (cloud.whole.labels == found[0]).mean()
    scores = scores_on_whole_clouds([cloud], [found], 3)
    assert abs(scores.overall_accuracy - 100 * share) < 1e-9


def test_neighbors_in_color_and_height_vote():
    train, (cloud,) = clouds(0, 1), clouds(2)
    (found,) = nearest_colors(train, [cloud], 3, neighbors=5)
    known = np.concatenate([color_and_height(one) for one in train])
    labels = np.concatenate([one.labels for one in train])
    spread = known.std(axis=0)
    for i in range(0, len(cloud), 50):
        gaps = (((known - color_and_height(cloud)[i]) / spread) ** 2).sum(axis=1)
        near = labels[np.argsort(gaps)[:5]]
        assert found[i] == np.bincount(near, minlength=3).argmax()


def test_what_is_nearer_to_the_viewer_has_more_depth():
    places, depth = projected(np.array([[0, 0, 0.0], [0, 0, 1], [1, -1.7, 0]]))
    assert depth[1] > depth[0] and depth[2] > depth[0]
    # What is higher is drawn higher.
    assert places[1, 1] > places[0, 1]


def test_the_picture_is_written(tmp_path):
    cloud = random_cloud(points=200)
    draw_cloud(
        cloud.positions, cloud.labels, cloud.labels[::-1], 'abc', tmp_path / 'room.png'
    )
    assert (tmp_path / 'room.png').read_bytes().startswith(b'\x89PNG')
