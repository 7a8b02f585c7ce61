"""mAP of temporal action detection, against its definition and worked cases."""

import random
from typing import List, Tuple

import numpy as np
import pytest
from mmengine.registry import METRICS, init_default_scope

from dr2net_mm.tasks.temporal_detection.metrics import ANetDetectionMetric
from dr2net_mm.tasks.temporal_detection.metrics.detection_ap import (
    interpolated_average_precision,
)
from tests.tasks.temporal_detection.metrics.toolbox import (
    THRESHOLDS,
    Prediction,
    Truth,
    annotation_file,
    definition,
    evaluate,
)


def test_the_metric_is_found_from_mmactions_scope(tmp_path):
    init_default_scope('mmaction')
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')])
    metric = METRICS.build(dict(type='ANetDetectionMetric', ann_file=path))
    assert isinstance(metric, ANetDetectionMetric)


def test_a_worked_case_gives_the_average_precision_of_the_curve(tmp_path):
    truth = [('a', 0, 10, 'run'), ('a', 20, 40, 'run'), ('b', 5, 15, 'run')]
    predictions = [
        ('a', 0, 10, 'run', 0.9),  # hit everywhere: precision 1, recall 1/3
        ('a', 0, 9, 'run', 0.8),  # that segment is taken: miss
        ('b', 50, 60, 'run', 0.7),  # miss
        ('a', 20, 32, 'run', 0.6),  # IoU 0.6: hit at 0.5 to 0.6, precision 2/4
        ('b', 5, 15, 'run', 0.5),  # hit: precision 3/5, or 2/5 without the one before
    ]
    result = evaluate(
        ANetDetectionMetric(annotation_file(tmp_path, truth)), predictions
    )
    low = (1 + 3 / 5 + 3 / 5) / 3
    high = (1 + 2 / 5) / 3
    assert result['mAP@0.50'] == pytest.approx(low)
    assert result['mAP@0.60'] == pytest.approx(low)
    assert result['mAP@0.65'] == pytest.approx(high)
    assert result['mAP@0.95'] == pytest.approx(high)
    assert result['average_mAP'] == pytest.approx((3 * low + 7 * high) / 10)


def test_the_result_names_every_threshold_and_begins_with_the_average(tmp_path):
    truth = [('a', 0, 10, 'run')]
    result = evaluate(
        ANetDetectionMetric(annotation_file(tmp_path, truth)), [(*truth[0], 1.0)]
    )
    assert list(result) == ['average_mAP'] + [f'mAP@{t:.2f}' for t in THRESHOLDS]
    assert set(result.values()) == {1.0}


def test_a_prefix_stands_before_the_names(tmp_path):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')])
    metric = ANetDetectionMetric(path, tiou_thresholds=[0.5], prefix='anet')
    result = evaluate(metric, [('a', 0, 10, 'run', 1.0)])
    assert result == {'anet/average_mAP': 1.0, 'anet/mAP@0.50': 1.0}


def test_the_prediction_with_the_higher_score_takes_the_segment(tmp_path):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')])
    better_first = [('a', 0, 10, 'run', 0.9), ('a', 0, 6, 'run', 0.1)]
    worse_first = [('a', 0, 10, 'run', 0.1), ('a', 0, 6, 'run', 0.9)]
    for predictions, at_half, at_090 in (
        (better_first, 1.0, 1.0),
        (worse_first, 1.0, 0.5),
    ):
        result = evaluate(ANetDetectionMetric(path), predictions)
        assert (result['mAP@0.50'], result['mAP@0.90']) == (at_half, at_090)


def test_a_prediction_takes_the_next_segment_when_the_nearest_is_taken(tmp_path):
    truth = [('a', 0, 10, 'run'), ('a', 2, 12, 'run')]
    predictions = [('a', 0, 10, 'run', 0.9), ('a', 0.1, 10.1, 'run', 0.8)]
    result = evaluate(
        ANetDetectionMetric(annotation_file(tmp_path, truth)), predictions
    )
    assert result['mAP@0.50'] == pytest.approx(1.0)
    assert result['mAP@0.95'] == pytest.approx(0.5)


def test_an_overlap_of_exactly_the_threshold_is_enough(tmp_path):
    path = annotation_file(tmp_path, [('a', 0, 8, 'run')])
    metric = ANetDetectionMetric(path, tiou_thresholds=[0.5, 0.501])
    result = evaluate(metric, [('a', 0, 4, 'run', 1.0)])
    assert (result['mAP@0.50'], result['mAP@0.501']) == (1.0, 0.0)


def random_case(seed: int) -> Tuple[Truth, List[Prediction]]:
    generator = random.Random(seed)
    videos, labels = [f'video{i}' for i in range(4)], ['run', 'jump', 'swim']

    def segment() -> Tuple[float, float]:
        start = generator.uniform(0, 80)
        return start, start + generator.uniform(1, 20)

    truth = [
        (generator.choice(videos), *segment(), generator.choice(labels))
        for _ in range(12)
    ]
    truth += [(video, 1.0, 2.0, generator.choice(labels)) for video in videos]
    predictions: List[Prediction] = []
    for video, start, end, label in truth:
        for _ in range(generator.randrange(4)):
            predictions.append(
                (
                    video,
                    start + generator.gauss(0, 1),
                    end + abs(generator.gauss(0, 1)) + 1.0,
                    generator.choice([label, label, *labels]),
                    generator.random(),
                )
            )
    predictions += [
        (generator.choice(videos), *segment(), 'run', generator.random())
        for _ in range(5)
    ]
    return truth, [p for p in predictions if p[1] < p[2]]


@pytest.mark.parametrize('seed', range(25))
def test_random_cases_agree_with_the_definition(tmp_path, seed):
    truth, predictions = random_case(seed)
    result = evaluate(
        ANetDetectionMetric(annotation_file(tmp_path, truth)), predictions
    )
    expected = [definition(truth, predictions, threshold) for threshold in THRESHOLDS]
    got = [result[f'mAP@{threshold:.2f}'] for threshold in THRESHOLDS]
    assert got == pytest.approx(expected, abs=1e-9)
    assert result['average_mAP'] == pytest.approx(np.mean(expected), abs=1e-9)


def test_the_area_under_the_curve_interpolates_precision():
    # Precisions 0, 1/2, 1/3, 1/2; recall rises at the second and fourth.
    matched = np.array([False, True, False, True])
    assert interpolated_average_precision(matched, 4) == pytest.approx(0.25)
    assert interpolated_average_precision(np.zeros(0, bool), 3) == 0.0


def test_a_class_without_predictions_counts_zero(tmp_path):
    truth = [('a', 0, 10, 'run'), ('a', 0, 10, 'jump')]
    metric = ANetDetectionMetric(annotation_file(tmp_path, truth))
    assert evaluate(metric, [('a', 0, 10, 'run', 1.0)])['average_mAP'] == 0.5
