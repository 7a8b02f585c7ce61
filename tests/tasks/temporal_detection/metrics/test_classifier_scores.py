"""Video-level classes for proposals that have none."""

import json
from pathlib import Path

import numpy as np
import pytest

from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.metrics import ANetDetectionMetric
from tests.tasks.temporal_detection.metrics.toolbox import (
    SWIMMING,
    THRESHOLDS,
    TWO_CLASSES,
    UNLABELED,
    annotation_file,
    definition,
    evaluate,
)


def classifier_file(folder: Path, results: dict, key: str = 'class') -> str:
    path = folder / 'classifier.json'
    path.write_text(json.dumps({key: ['run', 'jump', 'swim'], 'results': results}))
    return str(path)


@pytest.mark.parametrize('key', ['class', 'classes'])
@pytest.mark.parametrize('prefix', ['', 'v_'])
def test_class_agnostic_proposals_take_the_best_classes_of_their_video(
    tmp_path, key, prefix
):
    scores = {f'{prefix}a': [0.7, 0.2, 0.1], f'{prefix}b': [0.05, 0.15, 0.8]}
    metric = ANetDetectionMetric(
        annotation_file(tmp_path, TWO_CLASSES, dict(z=SWIMMING)),
        classifier_scores=classifier_file(tmp_path, scores, key),
        classifier_top_k=2,
    )
    # What the definition says of every proposal times each of its video's two best.
    labeled = [
        (video, start, end, label, score * weight)
        for video, start, end, _, score in UNLABELED
        for label, weight in {
            'a': [('run', 0.7), ('jump', 0.2)],
            'b': [('swim', 0.8), ('jump', 0.15)],
        }[video]
    ]
    expected = np.mean([definition(TWO_CLASSES, labeled, t) for t in THRESHOLDS])
    result = evaluate(metric, UNLABELED)
    assert result['average_mAP'] == pytest.approx(expected)


def test_labels_of_the_model_are_left_alone_by_the_classifier(tmp_path):
    metric = ANetDetectionMetric(
        annotation_file(tmp_path, TWO_CLASSES),
        classifier_scores=classifier_file(tmp_path, {}),
    )
    predictions = [(*segment, 0.9) for segment in TWO_CLASSES]
    assert evaluate(metric, predictions)['average_mAP'] == 1.0


@pytest.mark.parametrize(
    ('scores', 'message'),
    [
        ({}, 'no scores'),
        (dict(a=[1.0, 2.0]), 'a list of 3'),
        (dict(a=[1, 2, None]), 'finite'),
    ],
)
def test_a_video_without_usable_class_scores_is_named(tmp_path, scores, message):
    metric = ANetDetectionMetric(
        annotation_file(tmp_path, TWO_CLASSES),
        classifier_scores=classifier_file(tmp_path, scores),
    )
    with pytest.raises(DataFileError, match=message):
        evaluate(metric, UNLABELED)


def test_proposals_without_any_class_need_a_choice(tmp_path):
    path = annotation_file(tmp_path, TWO_CLASSES)
    with pytest.raises(UserError, match='class_agnostic=True'):
        evaluate(ANetDetectionMetric(path), UNLABELED)
    result = evaluate(ANetDetectionMetric(path, class_agnostic=True), UNLABELED)
    assert result['average_mAP'] == 1.0
