import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from dr2net_mm.first_runs.data import package_files
from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools' / 'data' / 'elpv_to_mm.py'


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


@pytest.fixture()
def labels():
    """Every photo of the real split, a third of them defective for sure."""
    return {
        f'cell{n:04d}.png': ('0.0', '0.6666666666666666', '1.0')[n % 3]
        for n in range(1, 2625)
    }


@pytest.fixture()
def run(tool, labels, tmp_path, capsys):
    def call(*arguments):
        wheel, photo = tmp_path / 'given.whl', io.BytesIO()
        Image.new('L', (2, 2)).save(photo, 'PNG')
        if not wheel.exists():
            with zipfile.ZipFile(wheel, 'w') as archive:
                table = [f'images/{k}  {v}   mono' for k, v in labels.items()]
                archive.writestr(f'{tool.DATA}labels.csv', '\n'.join(table))
                archive.writestr(tool.LICENSE_MEMBER, 'CC BY-NC-SA 4.0')
                for name in labels:
                    archive.writestr(f'{tool.DATA}images/{name}', photo.getvalue())
        out = tmp_path / 'data' / 'elpv'
        given = arguments or ('--wheel', str(wheel))
        status = tool.main(['--out', str(out), *given])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, out

    return call


def test_probabilities_become_classes_and_parts_are_those_stored(run, labels):
    status, _, _, out = run()
    assert status == 0
    test = json.loads((out / 'test.json').read_text())
    assert len(test['data_list']) == 1312
    for item in test['data_list']:
        assert item['gt_label'] == (float(labels[item['img_path']]) >= 0.5)
        assert (out / 'images' / item['img_path']).is_file()
    assert (out / 'LICENSE.md').read_text() == 'CC BY-NC-SA 4.0'
    assert 'is already there' in run()[1]


def test_the_four_probabilities_can_be_the_classes(run, tmp_path):
    out = run()[3]
    run('--wheel', str(tmp_path / 'given.whl'), '--four-way')
    train = json.loads((out / 'train.json').read_text())
    assert {item['gt_label'] for item in train['data_list']} == {0, 2, 3}


def test_a_photo_of_the_split_that_is_not_there_is_named(run, labels):
    gone = json.loads(SCRIPT.with_name('elpv_split.json').read_text())['val'][0]
    del labels[gone]
    status, _, error, out = run()
    assert status == 2
    assert gone in error
    assert not out.exists()


def test_a_line_of_the_table_that_is_no_label_is_named(run, labels):
    labels['cell0001.png'] = 'broken'
    status, _, error, _ = run()
    assert status == 2
    assert 'broken' in error


def test_a_folder_of_something_else_is_left_alone(run, tmp_path):
    kept = tmp_path / 'data' / 'elpv' / 'thesis.txt'
    kept.parent.mkdir(parents=True)
    kept.write_text('mine')
    status, _, error, _ = run()
    assert status == 2
    assert 'something else' in error
    assert kept.read_text() == 'mine'


def test_wheels_of_all_checkouts_lie_in_the_user_s_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert package_files.download_folder() == tmp_path / 'dr2net_mm' / 'downloads'
