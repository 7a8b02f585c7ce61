"""Subsets, blocked videos, submissions and bad input of the metric."""

import json
from pathlib import Path
from typing import Any

import pytest

from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.metrics import ANetDetectionMetric
from tests.tasks.temporal_detection.metrics.toolbox import (
    SWIMMING,
    TWO_CLASSES,
    annotation_file,
    evaluate,
    outputs,
)


def test_a_class_that_only_another_subset_has_is_not_averaged(tmp_path, log_lines):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')], dict(z=SWIMMING))
    predictions = [('a', 0, 10, 'run', 0.9), ('a', 0, 10, 'swim', 0.8)]
    assert evaluate(ANetDetectionMetric(path), predictions)['average_mAP'] == 1.0
    assert any("not evaluated: 'swim'" in line for line in log_lines)


def test_a_class_that_the_file_has_nowhere_is_an_error(tmp_path):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')])
    with pytest.raises(UserError, match="'rum'"):
        evaluate(ANetDetectionMetric(path), [('a', 0, 10, 'rum', 1.0)])


@pytest.mark.parametrize('kind', ['list', 'json', 'txt'])
def test_blocked_videos_leave_annotations_and_predictions(tmp_path, kind):
    truth = [('a', 0, 10, 'run'), ('b', 0, 10, 'run'), ('c', 0, 10, 'run')]
    path = annotation_file(tmp_path, truth)
    blocked: Any = ['b', 'v_c']
    if kind != 'list':
        file = tmp_path / f'blocked.{kind}'
        text = json.dumps(blocked) if kind == 'json' else '\n'.join(blocked) + '\n'
        file.write_text(text)
        blocked = str(file)
    metric = ANetDetectionMetric(path, blocked_videos=blocked)
    predictions = [('a', 0, 10, 'run', 0.5), ('b', 50, 60, 'run', 0.9)]
    assert evaluate(metric, predictions)['average_mAP'] == 1.0


def test_annotated_videos_without_predictions_count_as_missed(tmp_path, log_lines):
    truth = [('a', 0, 10, 'run'), ('b', 0, 10, 'run')]
    metric = ANetDetectionMetric(annotation_file(tmp_path, truth))
    assert evaluate(metric, [('a', 0, 10, 'run', 1.0)])['average_mAP'] == 0.5
    assert any('1 of 2 annotated videos' in line for line in log_lines)


@pytest.mark.parametrize('subset', [None, 'training'])
def test_predictions_for_a_video_outside_the_subset_are_an_error(tmp_path, subset):
    extra = {}
    if subset:
        extra['z'] = dict(subset=subset, duration=9.0, annotations=[])
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')], extra)
    with pytest.raises(UserError, match="'v_z'.*not in the subset 'validation'"):
        evaluate(ANetDetectionMetric(path), [('z', 0, 10, 'run', 1.0)])


def test_a_video_that_a_sampler_gave_out_twice_counts_once(tmp_path):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run'), ('b', 0, 10, 'run')])
    samples = outputs([('b', 40, 50, 'run', 0.9), ('a', 0, 10, 'run', 0.8)])
    once, twice = ANetDetectionMetric(path), ANetDetectionMetric(path)
    once.process(None, samples)
    twice.process(None, samples + samples[:1])
    assert twice.evaluate(size=3) == once.evaluate(size=2)


def test_annotations_in_mmactions_format_have_no_subset(tmp_path):
    entry = dict(
        duration_second=20.0,
        duration_frame=600,
        feature_frame=592,
        annotations=[dict(segment=[0, 10], label='run')],
    )
    path = tmp_path / 'anet_anno_val.json'
    path.write_text(json.dumps({'v_a': entry}))
    metric = ANetDetectionMetric(str(path))
    # Such a file has one subset and may lack classes that the model knows.
    predictions = [('a', 0, 10, 'run', 1.0), ('a', 0, 10, 'swim', 0.9)]
    assert evaluate(metric, predictions)['average_mAP'] == 1.0


def test_repeated_annotations_count_unless_they_are_removed(tmp_path):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')] * 2)
    prediction = [('a', 0, 10, 'run', 1.0)]
    assert evaluate(ANetDetectionMetric(path), prediction)['average_mAP'] == 0.5
    metric = ANetDetectionMetric(path, remove_duplicates=True)
    assert evaluate(metric, prediction)['average_mAP'] == 1.0


def test_a_submission_is_written_with_ids_labels_and_falling_scores(tmp_path):
    path = annotation_file(tmp_path, TWO_CLASSES)
    metric = ANetDetectionMetric(path, outfile_prefix=str(tmp_path / 'out' / 'results'))
    evaluate(metric, [('a', 0, 10, 'run', 0.2), ('a', 20, 30, 'jump', 0.8)])
    written = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert written == dict(
        version='VERSION 1.3',
        external_data={},
        results=dict(
            a=[
                dict(label='jump', score=0.8, segment=[20.0, 30.0]),
                dict(label='run', score=0.2, segment=[0.0, 10.0]),
            ]
        ),
    )


def test_a_subset_without_annotations_can_only_be_written(tmp_path):
    extra = dict(z=dict(subset='testing', duration=9.0, annotations=[]))
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')], extra)
    with pytest.raises(DataFileError, match='format_only'):
        ANetDetectionMetric(path, subset='testing')
    prefix = str(tmp_path / 'results')
    metric = ANetDetectionMetric(
        path, subset='testing', format_only=True, outfile_prefix=prefix
    )
    assert evaluate(metric, [('z', 0, 10, 'run', 1.0)]) == {}
    assert list(json.loads(Path(f'{prefix}.json').read_text())['results']) == ['z']


def test_a_predicted_segment_that_ends_before_it_starts_is_a_miss(tmp_path, log_lines):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')])
    predictions = [('a', 10, 0, 'run', 0.9), ('a', 0, 10, 'run', 0.8)]
    assert evaluate(ANetDetectionMetric(path), predictions)['average_mAP'] == 0.5
    assert any('1 predicted segments do not end' in line for line in log_lines)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_prediction_that_is_not_finite_is_an_error(tmp_path, value):
    path = annotation_file(tmp_path, [('a', 0, 10, 'run')])
    with pytest.raises(UserError, match="'v_a', is not finite"):
        evaluate(ANetDetectionMetric(path), [('a', 0, 10, 'run', value)])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(tiou_thresholds=[]), 'tiou_thresholds'),
        (dict(tiou_thresholds=[0.0]), 'above 0'),
        (dict(tiou_thresholds=[50]), 'up to 1'),
        (dict(format_only=True), 'outfile_prefix'),
        (dict(classifier_scores='absent.json'), 'absent.json'),
        (dict(subset='val'), "subset 'val'.*subsets are validation"),
        (dict(ann_file='absent.json'), 'absent.json'),
        (dict(blocked_videos='absent.json'), 'absent.json'),
        (dict(blocked_videos=['a', 'b']), 'not blocked'),
    ],
)
def test_wrong_arguments_are_reported_before_training(tmp_path, options, message):
    options = {'ann_file': annotation_file(tmp_path, TWO_CLASSES), **options}
    with pytest.raises((ValueError, DataFileError), match=message):
        ANetDetectionMetric(**options)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'not a JSON file'),
        ('[]', 'holds no videos'),
        ('{"database": {}}', 'no videos in its "database"'),
        ('{"database": {"a": {"subset": "validation"}}}', "'a' is malformed"),
        (
            '{"database": {"a": {"subset": "validation", "duration": 5, '
            '"annotations": [{"segment": [1], "label": "run"}]}}}',
            "'a' is malformed",
        ),
    ],
)
def test_a_malformed_annotation_file_is_named(tmp_path, text, message):
    path = tmp_path / 'annotations.json'
    path.write_text(text)
    with pytest.raises(DataFileError, match=message) as error:
        ANetDetectionMetric(str(path))
    assert str(path) in str(error.value)
