import json

import numpy as np
import pytest

from dr2net_mm.first_runs.chance_level import evaluate, random_proposals

RESULTS = [
    dict(
        video_name='v_a',
        proposal_list=[
            dict(score=0.9, segment=[1, 2]),
            dict(score=0.1, segment=[3, 4]),
        ],
    ),
    dict(video_name='v_b', proposal_list=[]),
]
DURATIONS = {'v_a': 10.0, 'v_b': 5.0}


def test_a_guess_has_as_many_proposals_and_stays_within_the_video():
    guess = random_proposals(RESULTS, DURATIONS, [2.0, 20.0], seed=1)
    assert [g['video_name'] for g in guess] == ['v_a', 'v_b']
    assert [len(g['proposal_list']) for g in guess] == [2, 0]
    for proposal in guess[0]['proposal_list']:
        start, end = proposal['segment']
        # 20 s do not fit: cut to the video.
        assert end - start == pytest.approx(2.0) or end - start == pytest.approx(10.0)
        assert 0 <= start < end <= 10.0 + 1e-9


def test_a_guess_does_not_look_at_the_results():
    other = [dict(RESULTS[0], proposal_list=[dict(score=0.5, segment=[7, 8])] * 2)]
    lengths = np.linspace(1, 3, 7)
    guess = random_proposals(RESULTS[:1], DURATIONS, lengths)
    assert guess == random_proposals(other, DURATIONS, lengths)
    assert guess != random_proposals(other, DURATIONS, lengths, seed=1)


def test_no_lengths_to_draw_from_are_an_error():
    with pytest.raises(ValueError, match='lengths is empty'):
        random_proposals(RESULTS, DURATIONS, [])


def test_results_are_evaluated_with_changed_arguments(tmp_path):
    annotations = tmp_path / 'annotations.json'
    action = dict(segment=[1, 2], label='run')
    entry = dict(subset='validation', duration=10, annotations=[action])
    annotations.write_text(json.dumps(dict(database=dict(a=entry))))
    config = dict(type='ANetDetectionMetric', ann_file=str(annotations))
    metrics = evaluate(RESULTS[:1], config, class_agnostic=True, tiou_thresholds=[0.5])
    assert metrics['mAP@0.50'] == pytest.approx(1.0)
