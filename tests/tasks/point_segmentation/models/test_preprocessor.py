"""Clouds of a batch, and what is wrong with some."""

import pytest
import torch

from dr2net_mm.tasks.point_segmentation.models import PointDataPreprocessor
from tests.tasks.point_segmentation.models.toolbox import batch, pix4point


def as_data(inputs, samples):
    return dict(inputs=list(inputs), data_samples=samples)


def test_clouds_are_stacked_with_their_samples():
    inputs, samples = batch()
    found = PointDataPreprocessor(num_classes=5)(as_data(inputs.double(), samples))
    assert found['inputs'].dtype == torch.float32
    assert torch.equal(found['inputs'], inputs)
    assert torch.equal(found['data_samples'][1].labels, samples[1].labels)


def test_clouds_without_labels_are_taken():
    inputs, _ = batch()
    found = PointDataPreprocessor(num_classes=5)(dict(inputs=inputs))
    assert torch.equal(found['inputs'], inputs) and found['data_samples'] is None


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_number_that_is_not_finite_is_named(value):
    inputs, samples = batch()
    inputs[1, 4, 2] = value
    with pytest.raises(ValueError, match=f'channel 2 of point 4 of cloud 1.* {value}'):
        PointDataPreprocessor()(as_data(inputs, samples))


def test_clouds_of_different_sizes_are_named():
    clouds = [torch.rand(4, 7), torch.rand(5, 7)]
    with pytest.raises(ValueError, match=r'one shape.*\(4, 7\), \(5, 7\)'):
        PointDataPreprocessor()(dict(inputs=clouds))


@pytest.mark.parametrize('label', [5, -1, 254])
def test_a_class_outside_the_list_is_named(label):
    inputs, samples = batch()
    samples[1].labels[2] = label
    model = pix4point()
    with pytest.raises(ValueError, match=f'cloud 1 .* label {label}.*classes 0 to 4'):
        model.data_preprocessor(as_data(inputs, samples))
