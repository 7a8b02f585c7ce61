"""What an installation of the package holds."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IGNORED = shutil.ignore_patterns(
    '.git', '.venv', '.mim', 'build', 'data', 'work_dirs', '*.egg-info', '__pycache__'
)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    # `data` is ignored at the top only: there is also tools/data.
    shutil.copytree(
        str(ROOT),
        str(source),
        ignore=lambda path, names: (
            IGNORED(path, names) - (set() if Path(path) == ROOT else {'data'})
        ),
    )
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps']
    command += ['--no-build-isolation', '--no-index', '-w', str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(str(next(folder.glob('*.whl'))))


def files_below(folder: Path) -> set:
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_the_wheel_holds_configs_and_tools_where_mim_looks(wheel):
    held = set(wheel.namelist())
    wanted = files_below(ROOT / 'configs') | files_below(ROOT / 'tools')
    wanted.add('model-index.yml')
    assert {f'dr2net_mm/.mim/{name}' for name in wanted} <= held


def test_the_wheel_holds_every_module_and_the_license(wheel):
    held = set(wheel.namelist())
    assert {name for name in files_below(ROOT / 'dr2net_mm') if name[-3:] == '.py'} <= (
        held
    )
    assert any(name.endswith('LICENSE') for name in held)


def test_every_package_folder_has_an_init_module():
    for folder, _, names in os.walk(str(ROOT / 'dr2net_mm')):
        if any(name.endswith('.py') for name in names) and '.mim' not in folder:
            assert '__init__.py' in names, folder
