"""What tools/setup_env.sh says when it cannot go on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason='the set-up is for Python 3.11'
)


def set_up(env: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        'DR2NET_ENV': str(env),
        'DR2NET_PYTHON': sys.executable,
        'DR2NET_GPU': '0',
        **variables,
    }
    script = ROOT / 'tools' / 'setup_env.sh'
    return subprocess.run(
        ['bash', str(script)], env=environment, capture_output=True, text=True
    )


def only_error(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_missing_python_names_the_packages_to_install(tmp_path):
    done = set_up(tmp_path / 'env', DR2NET_PYTHON='/absent/python')
    assert 'apt-get install python3.11' in only_error(done)


def test_a_missing_compiler_names_the_package_to_install(tmp_path):
    done = set_up(tmp_path / 'env', CXX='absent-c++')
    assert 'apt-get install build-essential' in only_error(done)
    assert not (tmp_path / 'env').exists()


@pytest.mark.parametrize(
    ('module', 'package'), [('ensurepip', 'python3.11-venv'), ('', 'python3.11-dev')]
)
def test_a_python_without_venv_or_headers_names_the_package(tmp_path, module, package):
    # Answers as Debian's python3.11 does when one of its packages is not installed.
    python = tmp_path / 'python3.11'
    condition = f'*{module}*' if module else '*Python.h*'
    python.write_text(
        f'#!/bin/sh\ncase "$2" in {condition}) exit 1;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    done = set_up(tmp_path / 'env', DR2NET_PYTHON=str(python))
    assert package in only_error(done)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    done = set_up(tmp_path)
    assert str(tmp_path) in only_error(done)
    assert (tmp_path / 'thesis.tex').exists()


def test_a_failed_step_shows_its_log_and_leaves_no_stamp(tmp_path):
    env = tmp_path / 'env'
    done = set_up(env, PIP_NO_INDEX='1', PIP_FIND_LINKS=str(tmp_path))
    assert done.returncode == 1
    assert f'install torch failed; the whole log is {env}.log' in done.stderr
    assert not (env / '.complete').exists()


def test_shell_scripts_are_well_formed():
    for script in sorted((ROOT / 'tools').glob('*.sh')):
        done = subprocess.run(['bash', '-n', str(script)], capture_output=True)
        assert done.returncode == 0, script
    if shutil.which('shellcheck'):
        script = ROOT / 'tools' / 'setup_env.sh'
        command = ['shellcheck', '--severity=error', '--shell=bash', str(script)]
        assert subprocess.run(command).returncode == 0
