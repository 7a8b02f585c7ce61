"""What the tests of the video data set share."""

from mmengine.registry import DATASETS


def build(config):
    return DATASETS.build(config)
