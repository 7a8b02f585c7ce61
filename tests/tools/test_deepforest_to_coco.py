import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from dr2net_mm.first_runs.data import package_files
from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools' / 'data' / 'deepforest_to_coco.py'
XML = (
    '<annotation><size><width>{0}</width><height>{0}</height></size><object>'
    '<bndbox><xmin>390</xmin><ymin>8</ymin><xmax>430</xmax><ymax>28</ymax></bndbox>'
    '</object></annotation>'
)


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


def png(side):
    buffer = io.BytesIO()
    Image.new('RGB', (side, side), 'green').save(buffer, 'PNG')
    return buffer.getvalue()


@pytest.fixture()
def members(tool):
    """The files of a small stand-in for the wheel: every image 800 x 800."""
    files = {tool.LICENSE_MEMBER: b'MIT License'}
    for name in sum(tool.SPLITS.values(), []):
        files[f'deepforest/data/{name}.png'] = png(800)
        files[f'deepforest/data/{name}.xml'] = XML.format(800).encode()
    return files


@pytest.fixture()
def run(tool, members, tmp_path, capsys):
    def call(*arguments):
        wheel = tmp_path / 'given.whl'
        if not wheel.exists():
            with zipfile.ZipFile(wheel, 'w') as archive:
                for name, data in members.items():
                    archive.writestr(name, data)
        out = tmp_path / 'data' / 'deepforest'
        given = arguments or ('--wheel', str(wheel))
        status = tool.main(['--out', str(out), *given])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, out

    return call


def test_every_image_becomes_tiles_with_clipped_boxes(run):
    status, _, _, out = run()
    assert status == 0
    train = json.loads((out / 'train.json').read_text())
    val = json.loads((out / 'val.json').read_text())
    assert (len(train['images']), len(val['images'])) == (4, 12)
    assert all((out / 'train' / i['file_name']).is_file() for i in train['images'])
    # x 390-430 is cut at 400: 10 of 40 px in the first tile, 30 in the second.
    found = [(a['image_id'], a['bbox'], a['iscrowd']) for a in train['annotations']]
    assert found == [(1, [390, 8, 10, 20], 1), (2, [0, 8, 30, 20], 0)]


def test_the_license_and_source_of_the_images_lie_beside_them(run):
    *_, out = run()
    assert (out / 'LICENSE').read_text() == 'MIT License'
    assert 'deepforest==2.1.0' in (out / 'SOURCE').read_text()


def test_a_second_run_says_that_the_set_is_there_and_touches_nothing(run):
    *_, out = run()
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    status, said, _, _ = run()
    assert status == 0
    assert 'already there' in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


def test_a_set_that_lost_a_tile_is_made_anew(run):
    *_, out = run()
    lost = next((out / 'val').iterdir())
    lost.unlink()
    status, said, _, _ = run()
    assert status == 0
    assert f'{lost.name} first' in said
    assert lost.is_file()


def test_a_folder_of_something_else_is_not_touched(run, tmp_path):
    mine = tmp_path / 'data' / 'deepforest' / 'mine.txt'
    mine.parent.mkdir(parents=True)
    mine.write_text('precious')
    status, _, error, _ = run()
    assert status == 2
    assert 'something else' in error
    assert mine.read_text() == 'precious'


@pytest.mark.parametrize(
    ('file', 'data', 'message'),
    [
        ('OSBS_029.png', None, 'holds no deepforest/data/OSBS_029.png'),
        ('OSBS_029.png', b'not an image', 'OSBS_029.png'),
        ('OSBS_029.png', png(800)[:-400], 'OSBS_029.png'),
        ('SOAP_061.xml', b'<annotation>', 'SOAP_061.xml is not a Pascal VOC'),
        ('SOAP_061.xml', XML.format(500).encode(), '500x500'),
    ],
)
def test_a_missing_or_damaged_file_is_named_and_nothing_is_left(
    run, members, file, data, message
):
    member = f'deepforest/data/{file}'
    if data is None:
        del members[member]
    else:
        members[member] = data
    status, _, error, out = run()
    assert status == 2
    assert message in error
    assert error.count('error:') == 1
    assert list(out.parent.iterdir()) == []


def test_a_wheel_that_is_no_zip_file_is_named(run, tmp_path):
    wheel = tmp_path / 'broken.whl'
    wheel.write_bytes(b'PK nothing')
    status, _, error, _ = run('--wheel', str(wheel))
    assert status == 2
    assert 'broken.whl is not a readable wheel' in error


def test_a_wheel_that_is_not_there_is_named(run, tmp_path):
    status, _, error, _ = run('--wheel', str(tmp_path / 'none.whl'))
    assert status == 2
    assert 'none.whl' in error


def test_a_damaged_byte_in_the_wheel_is_found(run, tmp_path):
    run()
    wheel = tmp_path / 'given.whl'
    content = bytearray(wheel.read_bytes())
    position = content.find(b'<xmin>390')
    content[position + 6 : position + 9] = b'391'
    wheel.write_bytes(content)
    status, _, error, out = run('--wheel', str(wheel), '--out', str(tmp_path / 'other'))
    assert status == 2
    assert 'damaged' in error


def test_without_a_network_the_remedy_is_told(run, tmp_path, monkeypatch):
    class Failed:
        returncode = 1
        stderr = 'WARNING: retrying\nERROR: No matching distribution found\n'

    monkeypatch.setattr(package_files.subprocess, 'run', lambda *args, **kwargs: Failed)
    out = tmp_path / 'empty' / 'deepforest'
    status, _, error, _ = run('--out', str(out))
    assert status == 2
    assert 'No matching distribution found' in error
    assert '--wheel' in error
    assert not out.exists()
