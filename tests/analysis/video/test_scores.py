import numpy as np
import pytest
from mmengine.config import Config

from dr2net_mm.analysis.video.scores import class_probabilities, config_of_videos, main
from dr2net_mm.errors import UserError


def recognizer_config(*transforms):
    dataset = dict(type='VideoDataset', ann_file='clips.txt', pipeline=list(transforms))
    return Config(dict(test_dataloader=dict(batch_size=8, dataset=dataset)))


def test_classes_that_are_no_action_are_left_out():
    scores = [np.array([0.1, 0.3, 0.6]), np.array([0.2, 0.2, 0.6])]
    rows = class_probabilities(scores, ['run', 'jump', 'nothing'], ['nothing'])
    np.testing.assert_allclose(rows, [[0.25, 0.75], [0.5, 0.5]])


@pytest.mark.parametrize(
    ('names', 'ignored', 'message'),
    [
        (['a', 'b', 'c', 'd'], [], '3 classes, but 4 names'),
        (['a', 'b', 'c'], ['z'], r"\['z'\] is none of the classes"),
    ],
)
def test_names_that_do_not_fit_the_recognizer_are_an_error(names, ignored, message):
    with pytest.raises(UserError, match=message):
        class_probabilities([np.ones(3)], names, ignored)


def test_the_test_set_becomes_the_given_videos_with_several_clips(tmp_path):
    config = recognizer_config(
        dict(type='DecordInit'), dict(type='SampleFrames', clip_len=4, num_clips=1)
    )
    list_file = tmp_path / 'list.txt'
    changed = config_of_videos(config, ['x/a b.mp4', 'x/c.mp4'], str(list_file), 5)
    dataset = changed.test_dataloader.dataset
    assert dataset.pipeline[1] == dict(
        type='SampleFrames', clip_len=4, num_clips=5, test_mode=True
    )
    lines = list_file.read_text().splitlines()
    assert [line.split(dataset.delimiter) for line in lines] == [
        ['x/a b.mp4', '-1'],
        ['x/c.mp4', '-1'],
    ]
    assert config.test_dataloader.dataset.pipeline[1].num_clips == 1


def test_a_pipeline_without_sampling_is_an_error(tmp_path):
    with pytest.raises(UserError, match='none of SampleFrames'):
        config_of_videos(
            recognizer_config(dict(type='DecordInit')), [], str(tmp_path / 'list'), 2
        )


def test_a_missing_checkpoint_gives_one_clear_line(tmp_path, capsys):
    arguments = ['config.py', 'absent.pth', '--out', str(tmp_path / 'scores.json')]
    for flag in ('--annotations', '--videos', '--classes'):
        arguments += [flag, 'nothing']
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'absent.pth' in line
