"""mAP of temporal action detection, against its definition and worked cases."""

import json
import random
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, init_default_scope

from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.metrics import ANetDetectionMetric
from dr2net_mm.tasks.temporal_detection.metrics.detection_ap import (
    interpolated_average_precision,
)

THRESHOLDS = [0.5 + 0.05 * step for step in range(10)]
# (video, start, end, class), and with a score for predictions.
Truth = List[Tuple[str, float, float, str]]
Prediction = Tuple[str, float, float, Optional[str], float]


def overlap(a: Tuple[float, float], b: Tuple[float, float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)


def definition(truth: Truth, predictions: List[Prediction], threshold: float) -> float:
    """mAP at one threshold by the words of the definition, without any shortcut."""
    precisions = []
    for label in sorted({t[3] for t in truth}):
        wanted = [t for t in truth if t[3] == label]
        taken: set = set()
        hits = []
        ranked = [p for p in predictions if p[3] == label]
        for video, start, end, _, _ in sorted(ranked, key=lambda p: -p[4]):
            best, best_overlap = None, threshold
            for index, (other, *segment, _) in enumerate(wanted):
                value = overlap((start, end), tuple(segment))
                if other == video and index not in taken and value >= best_overlap:
                    if best is None or value > best_overlap:
                        best, best_overlap = index, value
            hits.append(best is not None)
            taken.add(best)
        area, recall_before = 0.0, 0.0
        points = [
            (sum(hits[:n]) / len(wanted), sum(hits[:n]) / n)
            for n in range(1, len(hits) + 1)
        ]
        for index, (recall, _) in enumerate(points):
            best_precision = max(precision for _, precision in points[index:])
            area += (recall - recall_before) * best_precision
            recall_before = recall
        precisions.append(area)
    return sum(precisions) / len(precisions)


def annotation_file(folder: Path, truth: Truth, extra: Optional[dict] = None) -> str:
    database: Dict[str, dict] = {}
    for video, start, end, label in truth:
        entry = database.setdefault(
            video, dict(subset='validation', duration=100.0, annotations=[])
        )
        entry['annotations'].append(dict(segment=[start, end], label=label))
    database.update(extra or {})
    path = folder / 'annotations.json'
    path.write_text(json.dumps(dict(version='1.3', database=database, taxonomy=[])))
    return str(path)


def outputs(predictions: List[Prediction], prefix: str = 'v_') -> List[dict]:
    """What a localizer returns, a dict for each video."""
    videos: Dict[str, list] = {}
    for video, start, end, label, score in predictions:
        proposal: Dict[str, Any] = dict(score=score, segment=[start, end])
        if label is not None:
            proposal['label'] = label
        videos.setdefault(video, []).append(proposal)
    return [
        dict(video_name=f'{prefix}{video}', proposal_list=found)
        for video, found in videos.items()
    ]


def evaluate(metric: ANetDetectionMetric, predictions: List[Prediction]) -> dict:
    samples = outputs(predictions)
    metric.process(data_batch=None, data_samples=samples)
    return metric.evaluate(size=len(samples))


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


SWIMMING = dict(
    subset='training',
    duration=9.0,
    annotations=[dict(segment=[0, 1], label='swim')],
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


def classifier_file(folder: Path, results: dict, key: str = 'class') -> str:
    path = folder / 'classifier.json'
    path.write_text(json.dumps({key: ['run', 'jump', 'swim'], 'results': results}))
    return str(path)


TWO_CLASSES: Truth = [('a', 0, 10, 'run'), ('a', 20, 30, 'jump'), ('b', 0, 9, 'jump')]
UNLABELLED: List[Prediction] = [
    ('a', 0, 10, None, 0.9),
    ('a', 20, 30, None, 0.8),
    ('b', 0, 9, None, 0.5),
]


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
    labelled = [
        (video, start, end, label, score * weight)
        for video, start, end, _, score in UNLABELLED
        for label, weight in {
            'a': [('run', 0.7), ('jump', 0.2)],
            'b': [('swim', 0.8), ('jump', 0.15)],
        }[video]
    ]
    expected = np.mean([definition(TWO_CLASSES, labelled, t) for t in THRESHOLDS])
    result = evaluate(metric, UNLABELLED)
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
        evaluate(metric, UNLABELLED)


def test_proposals_without_any_class_need_a_choice(tmp_path):
    path = annotation_file(tmp_path, TWO_CLASSES)
    with pytest.raises(UserError, match='class_agnostic=True'):
        evaluate(ANetDetectionMetric(path), UNLABELLED)
    result = evaluate(ANetDetectionMetric(path, class_agnostic=True), UNLABELLED)
    assert result['average_mAP'] == 1.0


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


def bmn_output(tmp_path: Path) -> Tuple[list, list]:
    """What mmaction's BMN predicts for a video, and the data sample."""
    from mmaction.registry import MODELS
    from mmaction.structures import ActionDataSample

    init_default_scope('mmaction')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='BMN', temporal_dim=16, boundary_ratio=0.5, num_samples=4,
            num_samples_per_bin=2, feat_dim=8, soft_nms_alpha=0.4,
            soft_nms_low_threshold=0.5, soft_nms_high_threshold=0.9,
            post_process_top_k=120, feature_extraction_interval=1, hidden_dim_1d=8,
            hidden_dim_2d=4, hidden_dim_3d=8,
        )
    ).eval()  # fmt: skip
    sample = ActionDataSample()
    sample.set_metainfo(
        dict(
            video_name='v_a',
            duration_second=100.0,
            duration_frame=160,
            feature_frame=160,
            annotations=[dict(segment=[0.0, 50.0], label='run')],
        )
    )
    with torch.no_grad():
        predicted = model([torch.randn(8, 16)], [sample], mode='predict')
    return predicted, [sample]


def test_what_bmn_predicts_is_accepted_here_and_by_mmactions_metric(tmp_path):
    from mmaction.evaluation import ANetMetric

    predicted, samples = bmn_output(tmp_path)
    path = annotation_file(tmp_path, [('a', 0, 50, 'run')])
    ours = ANetDetectionMetric(path, class_agnostic=True)
    ours.process(None, predicted)
    result = ours.evaluate(size=1)
    assert 0 < result['mAP@0.50'] <= 1

    theirs = ANetMetric(
        metric_type='AR@AN',
        dump_config=dict(out=str(tmp_path / 'ar.json'), output_format='json'),
    )
    theirs.process(dict(data_samples=samples), predicted)
    assert theirs.evaluate(size=1)['AR@100'] >= result['mAP@0.95']


def test_an_evaluator_runs_it_beside_mmactions_metric(tmp_path):
    predicted, samples = bmn_output(tmp_path)
    evaluator = Evaluator(
        [
            dict(
                type='ANetDetectionMetric',
                ann_file=annotation_file(tmp_path, [('a', 0, 50, 'run')]),
                class_agnostic=True,
                prefix='anet',
            ),
            dict(
                type='mmaction.ANetMetric',
                metric_type='AR@AN',
                dump_config=dict(out=str(tmp_path / 'ar.json'), output_format='json'),
            ),
        ]
    )
    evaluator.process(data_samples=predicted, data_batch=dict(data_samples=samples))
    result = evaluator.evaluate(1)
    assert {'anet/average_mAP', 'auc'} <= set(result)
