"""What a segmentation of points is compared with: two predictions without a network."""

from typing import Sequence

import numpy as np

from dr2net_mm.tasks.point_segmentation.datasets.cloud import (
    SampledCloud,
    search_tree,
)
from dr2net_mm.tasks.point_segmentation.metrics.confusion import (
    SegmentationScores,
    confusion_matrix,
    scores_of,
)

#: Neighbors that vote.
NEIGHBORS = 15


def scores_on_whole_clouds(
    clouds: Sequence[SampledCloud], predicted: Sequence[np.ndarray], classes: int
) -> SegmentationScores:
    """Scores of predictions for subsampled clouds, as ``PointIoUMetric`` counts them.

    Args:
        clouds: The clouds, which keep the whole ones.
        predicted: Class of every point of each subsampled cloud.
        classes: Number of classes.
    """
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for cloud, found in zip(clouds, predicted):
        assert cloud.whole is not None
        whole = found[cloud.projection]
        confusion += confusion_matrix(cloud.whole.labels, whole, classes)
    return scores_of(confusion)


def largest_class(
    train: Sequence[SampledCloud], clouds: Sequence[SampledCloud]
) -> Sequence[np.ndarray]:
    """Predict the most frequent class of the training clouds for every point."""
    labels = np.concatenate([cloud.labels for cloud in train])
    most = int(np.bincount(labels[labels != 255]).argmax())
    return [np.full(len(cloud), most, dtype=np.uint8) for cloud in clouds]


def color_and_height(cloud: SampledCloud) -> np.ndarray:
    """Color from 0 to 1 and height in meters of every point, [m, 4]."""
    return np.concatenate([cloud.colors / 255, cloud.positions[:, 2:]], axis=1)


def nearest_colors(
    train: Sequence[SampledCloud],
    clouds: Sequence[SampledCloud],
    classes: int,
    neighbors: int = NEIGHBORS,
) -> Sequence[np.ndarray]:
    """Predict by a vote of the training points that are nearest in color and height.

    Color and height are divided by their standard deviations.

    Args:
        train: Training clouds.
        clouds: Clouds to predict.
        classes: Number of classes.
        neighbors: Points that vote; of equal votes the first class wins.
    """
    known = np.concatenate([color_and_height(cloud) for cloud in train])
    labels = np.concatenate([cloud.labels for cloud in train]).astype(np.int64)
    spread = known.std(axis=0)
    tree = search_tree(known / spread)
    found = []
    for cloud in clouds:
        _, near = tree.query(color_and_height(cloud) / spread, neighbors, workers=-1)
        votes = np.zeros((len(cloud), classes), dtype=np.int64)
        rows = np.repeat(np.arange(len(cloud)), neighbors)
        np.add.at(votes, (rows, labels[near].reshape(-1)), 1)
        found.append(votes.argmax(axis=1).astype(np.uint8))
    return found
