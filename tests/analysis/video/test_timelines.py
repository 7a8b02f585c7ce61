import json
from pathlib import Path

import cv2
import pytest

from dr2net_mm.analysis.video.timelines import (
    Prediction,
    Timeline,
    choose_videos,
    load_predictions,
    main,
    shown_predictions,
    timelines_of,
)
from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    Action,
    AnnotatedVideo,
)

TOOL = Path(__file__).parents[3] / 'tools' / 'analysis' / 'plot_timeline.py'
PROPOSALS = [
    dict(segment=[5, 6], score=0.1),
    dict(segment=[1, 3.5], score=0.9, label='run'),
]


@pytest.fixture()
def files(tmp_path):
    """Annotations of three videos, and results of two of them."""
    database = {
        name: dict(
            subset=subset,
            duration=10,
            annotations=[dict(segment=[1, 4], label='run')],
        )
        for name, subset in (
            ('a', 'validation'),
            ('b', 'validation'),
            ('c', 'training'),
        )
    }
    annotations = tmp_path / 'annotations.json'
    annotations.write_text(json.dumps(dict(database=database)))
    results = tmp_path / 'results.json'
    results.write_text(json.dumps(dict(results=dict(a=PROPOSALS, b=[]))))
    return str(results), str(annotations)


def run(*arguments):
    """Run the command and return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


@pytest.mark.parametrize(
    'content',
    [
        dict(results=dict(a=PROPOSALS)),
        dict(a=PROPOSALS),
        [dict(video_name='v_a', proposal_list=PROPOSALS)],
    ],
)
def test_every_form_of_results_is_read_best_first(tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(content))
    assert load_predictions(str(path)) == {
        'a': [Prediction(1, 3.5, 0.9, 'run'), Prediction(5, 6, 0.1, None)]
    }


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[1, 2', 'is not a JSON file'),
        ('{"results": {"a": [{"segment": [1]}]}}', 'holds no predicted segments'),
        ('{"results": {"a": [{"segment": [1, 2]}]}}', "KeyError: 'score'"),
        ('3', 'holds no predicted segments'),
    ],
)
def test_results_of_another_form_are_an_error(tmp_path, content, message):
    path = tmp_path / 'results.json'
    path.write_text(content)
    with pytest.raises(DataFileError, match=message):
        load_predictions(str(path))


def test_as_many_predictions_are_shown_as_segments_are_annotated():
    actions = [Action(1, 2, 'run'), Action(4, 5, 'run')]
    predictions = [Prediction(i, i + 1, 1 - i / 10) for i in range(5)]
    timeline = Timeline(AnnotatedVideo('a', 10, None, actions), predictions)
    assert shown_predictions(timeline) == predictions[:2]
    assert shown_predictions(timeline, top=3) == predictions[:3]


def test_chosen_videos_are_spread_over_all():
    assert choose_videos(list('hgfedcba'), 3) == ['a', 'e', 'h']
    assert choose_videos(['b', 'a'], 8) == ['a', 'b']


def test_videos_are_found_also_with_the_prefix_of_activitynet():
    videos = {'a': AnnotatedVideo('a', 10, 'validation', [])}
    (timeline,) = timelines_of(videos, {}, 'validation', ['v_a'])
    assert timeline.video.video_id == 'a'


@pytest.mark.parametrize(
    ('subset', 'chosen', 'message'),
    [
        ('testing', None, "no subset 'testing'.*validation"),
        ('validation', None, 'none of the 1 videos'),
        ('validation', ['b'], 'b is not in the subset'),
    ],
)
def test_what_cannot_be_drawn_is_named(subset, chosen, message):
    videos = {'a': AnnotatedVideo('a', 10, 'validation', [])}
    with pytest.raises(UserError, match=message):
        timelines_of(videos, {}, subset, chosen)


def columns_of(picture, color):
    """First and last column of a color (BGR), or None."""
    close = abs(picture.astype(int) - color).sum(2) < 30
    found = close.sum(0).nonzero()[0]
    return (found[0], found[-1]) if len(found) else None


def test_bars_lie_where_their_segments_are(files, tmp_path, capsys):
    out = tmp_path / 'picture.png'
    assert run(*files, '--videos', 'a', '--out', out) == 0
    assert 'picture of 1 videos' in capsys.readouterr().out
    # Without the legend, which shows both colors too.
    picture = cv2.imread(str(out))[60:]
    truth = columns_of(picture, (0, 144, 208))
    predicted = columns_of(picture, (180, 119, 31))
    # Annotated 1 to 4 s and predicted 1 to 3.5 s: one scale fits both.
    second = (truth[1] - truth[0]) / 3
    assert abs(predicted[0] - truth[0]) <= 2
    assert abs(predicted[1] - (truth[0] + 2.5 * second)) <= 3


def test_picture_lies_beside_the_results_when_no_place_is_given(files):
    assert run(*files) == 0
    assert Path(files[0]).with_suffix('.png').stat().st_size > 5000


@pytest.mark.parametrize('missing', [0, 1])
def test_a_missing_file_gives_one_clear_line(files, capsys, missing):
    arguments = list(files)
    arguments[missing] = 'absent.json'
    assert run(*arguments, '--out', Path(files[0]).with_suffix('.png')) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'absent.json' in line


def test_help_explains_with_an_example(help_of):
    shown = help_of(TOOL)
    assert 'Example' in shown
    assert '--top' in shown
