"""J and F against brute force, and the zip of a submission."""

import zipfile

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from PIL import Image

from dr2net_mm.errors import UserError
from dr2net_mm.tasks.referring_segmentation.metrics.region_and_contour import (
    contour_accuracy,
    region_similarity,
)


def blob(seed, size=(40, 60)):
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    middle, radius = generator.uniform(10, 30, 2), generator.uniform(5, 18)
    return (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < radius**2


def reference_f(predicted, truth):
    """F by comparing every pair of contour pixels."""

    def edge(mask):
        height, width = mask.shape
        return np.array(
            [
                (y, x)
                for y in range(height)
                for x in range(width)
                if any(
                    mask[y, x] != mask[min(y + a, height - 1), min(x + b, width - 1)]
                    for a, b in ((0, 1), (1, 0), (1, 1))
                )
            ]
        ).reshape(-1, 2)

    one, other = edge(predicted), edge(truth)
    if not len(one) or not len(other):
        return float(len(one) == len(other))
    reach = np.ceil(0.008 * np.hypot(*truth.shape))
    near = np.linalg.norm(one[:, None] - other[None], axis=-1) <= reach
    precision, recall = near.any(axis=1).mean(), near.any(axis=0).mean()
    return 2 * precision * recall / (precision + recall) if near.any() else 0.0


@pytest.mark.parametrize('seed', range(6))
def test_region_and_contour_are_those_of_brute_force(seed):
    predicted, truth = blob(seed), blob(seed + 100)
    union = np.logical_or(predicted, truth).sum()
    expected = np.logical_and(predicted, truth).sum() / union
    assert region_similarity(predicted, truth) == pytest.approx(expected)
    assert contour_accuracy(predicted, truth) == pytest.approx(
        reference_f(predicted, truth)
    )


def test_a_contour_within_the_tolerance_is_right():
    # The diagonal of 300 × 400 is 500 pixels: contours may be 4 pixels apart.
    truth = np.zeros((300, 400), bool)
    truth[100:200, 100:200] = True
    near, far = (np.roll(truth, shift, axis=1) for shift in (4, 30))
    assert contour_accuracy(near, truth) == 1
    assert contour_accuracy(far, truth) < 0.7


def test_empty_masks_agree_with_each_other_only():
    nothing, something = np.zeros((40, 60), bool), blob(0)
    assert region_similarity(nothing, nothing) == 1
    assert contour_accuracy(nothing, nothing) == 1
    assert region_similarity(nothing, something) == 0
    assert contour_accuracy(nothing, something) == 0


def sample(name, masks, truth=None, **more):
    return dict(
        image_id=name,
        pred_instances=dict(masks=torch.from_numpy(masks)[None]),
        truth=None if truth is None else torch.from_numpy(truth),
        **more,
    )


def evaluate(samples, **options):
    metric = METRICS.build(dict(type='VideoObjectMetric', **options))
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_scores_are_means_over_frames_and_sentences():
    truth = np.stack([blob(0), blob(1)])
    half = np.stack([blob(0), np.zeros_like(blob(1))])
    found = evaluate([sample('a', truth, truth), sample('b', half, truth)])
    assert found == {'rvos/J': 0.75, 'rvos/F': 0.75, 'rvos/JF': 0.75}
    twice = [sample('a', truth, truth), *[sample('b', half, truth)] * 3]
    assert evaluate(twice) == found


def test_a_submission_has_a_picture_for_each_frame(tmp_path):
    masks = np.stack([blob(0), blob(1)])
    path = tmp_path / 'made' / 'submission.zip'
    metadata = dict(video='v', expression='3', frame_names=['00000', '00005'])
    assert evaluate([sample('a', masks, **metadata)], submission=str(path)) == {}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert names == [
            'Annotations/v/3/00000.png',
            'Annotations/v/3/00005.png',
        ]
        with archive.open(names[1]) as file:
            picture = np.asarray(Image.open(file))
    np.testing.assert_array_equal(picture, masks[1] * np.uint8(255))
    with pytest.raises(UserError, match='pictures of an earlier run'):
        evaluate([], submission=str(path))


def test_what_cannot_be_evaluated_is_refused():
    many = sample('a', np.stack([blob(0)]))
    many['pred_instances']['masks'] = torch.zeros(5, 1, 40, 60, dtype=torch.bool)
    with pytest.raises(ValueError, match='whole_video=True'):
        evaluate([many])
    with pytest.raises(UserError, match='must end in .zip'):
        evaluate([], submission='submission.tar')
