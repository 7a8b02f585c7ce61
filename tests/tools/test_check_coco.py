"""The tool lists every finding of a config or a file."""

import json

import cv2
import numpy as np
import pytest

from tests.fixtures.scripts import load_script


@pytest.fixture(scope='module')
def tool():
    return load_script('data/check_coco.py')


@pytest.fixture
def damage(toy_run):
    def change(**fields):
        content = json.loads(toy_run.annotation_file.read_text())
        content['annotations'][0].update(fields)
        toy_run.annotation_file.write_text(json.dumps(content))

    return change


def test_a_good_config_passes(tool, toy_run, capfd):
    assert tool.main([str(toy_run.config)]) == 0
    out = capfd.readouterr()
    assert "2 images, labels ('circle', 'square')" in out.out
    assert '2 image files looked at' in out.out and '0 errors' in out.out
    assert '2/2' in out.err


def test_all_errors_of_a_config_are_listed(tool, toy_run, damage, capfd):
    damage(area=None, bbox=[1, 2])
    cv2.imwrite(str(toy_run.images[0]), np.zeros((32, 64, 3), np.uint8))
    assert tool.main([str(toy_run.config)]) == 1
    out = capfd.readouterr().out
    for part in ('bbox [1, 2]', 'area None', '64 x 32 as it is loaded'):
        assert part in out


def test_a_file_alone_is_checked_for_training_or_evaluation(
    tool, toy_run, damage, capfd
):
    damage(iscrowd=None)
    path = str(toy_run.annotation_file)
    images = ['--images', str(toy_run.folder / 'images')]
    assert tool.main([path, *images, '--sample']) == 0
    assert tool.main([path, '--evaluated']) == 1
    assert 'iscrowd null' in capfd.readouterr().out
    assert tool.main([path, '--classes', 'square', 'circle']) == 1


@pytest.mark.parametrize(
    'arguments', [['absent.json'], ['absent.py'], ['{}', '--images', 'absent']]
)
def test_bad_input_is_one_line(tool, toy_run, capfd, arguments):
    arguments = [a.format(toy_run.annotation_file) for a in arguments]
    assert tool.main(arguments) == 2
    assert 'absent' in capfd.readouterr().err


def test_training_stops_before_anything_is_made(toy_run, train, damage, error_line):
    damage(bbox=[1, 2, 3, 4, 5])
    assert train(toy_run) == 2
    line = error_line()
    assert 'annotations[0] (id ' in line and 'four numbers' in line
    assert not toy_run.work_dir.exists()
    assert train(toy_run, '--cfg-options', 'check_data=False') == 2
    assert 'too many values' in error_line()


def test_a_test_run_is_checked_too(toy_run, evaluate, checkpoint, damage, error_line):
    damage(iscrowd=None)
    assert evaluate(toy_run, str(checkpoint)) == 2
    assert 'iscrowd null' in error_line()
