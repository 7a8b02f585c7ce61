"""What tools/setup_env.sh says when it cannot go on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.skipif(
    not (3, 10) <= sys.version_info[:2] <= (3, 13),
    reason='the set-up is for Python 3.10 to 3.13',
)
#: The stack that the running Python can have whatever its version is.
STACK = 'openmmlab' if sys.version_info[:2] == (3, 11) else 'onedl'


def set_up(env: Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        'DR2NET_ENV': str(env),
        'DR2NET_PYTHON': sys.executable,
        'DR2NET_GPU': '0',
        'DR2NET_STACK': STACK,
        **variables,
    }
    script = ROOT / 'tools' / 'setup_env.sh'
    return subprocess.run(
        ['bash', str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
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


@pytest.mark.parametrize(('module', 'package'), [('ensurepip', 'venv'), ('', 'dev')])
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
    assert f'python%d.%d-{package}' % sys.version_info[:2] in only_error(done)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path):
    """Runs the set-up where commands look as given, up to its first step."""

    def run(capability='', nvcc=False, python=(3, 11), **variables):
        folder = tmp_path / 'bin'
        if capability:
            executable(
                folder / 'nvidia-smi',
                f'case "$1" in -L) echo GPU 0;; *) echo {capability};; esac',
            )
        if nvcc:
            executable(folder / 'nvcc', '')
        # Says it is the wanted version, and has no venv, which ends the set-up.
        answer = f'major, minor = {python}; v = (major, minor, 1)'
        fake = executable(
            folder / 'python',
            'case "$2" in *ensurepip*) exit 1;; esac\n'
            'case "$1" in --version) echo Python; exit;; esac\n'
            f'code=$(echo "$2" | sed "s/v = sys.version_info/{answer}/")\n'
            f'exec {sys.executable} -c "$code"',
        )
        real = [
            path
            for path in os.environ['PATH'].split(os.pathsep)
            if not any(os.path.exists(f'{path}/{c}') for c in ('nvcc', 'nvidia-smi'))
        ]
        done = set_up(
            tmp_path / 'env',
            PATH=os.pathsep.join([str(folder), *real]),
            CUDA_HOME=str(tmp_path),
            DR2NET_PYTHON=str(fake),
            **{'DR2NET_GPU': '', 'DR2NET_STACK': '', **variables},
        )
        assert done.returncode == 1
        lines = [line for line in done.stdout.splitlines() if 'stack:' in line]
        return lines[0].split('stack: ')[1] if lines else '', done.stderr

    return run


@pytest.mark.parametrize(
    'there, stack, why',
    [
        (dict(), 'openmmlab', 'no GPU'),
        (dict(python=(3, 12)), 'onedl', 'no Python 3.11'),
        (dict(DR2NET_STACK='onedl'), 'onedl', 'DR2NET_STACK'),
        (dict(capability='9.0', nvcc=True), 'onedl', 'a GPU, and nvcc'),
        (dict(capability='9.0'), 'openmmlab', 'capability 9.0 and no nvcc'),
        (dict(capability='12.0', nvcc=True, python=(3, 13)), 'onedl', 'nvcc'),
        (
            dict(capability='12.0', DR2NET_STACK='openmmlab'),
            'openmmlab',
            'DR2NET_STACK',
        ),
        (dict(capability='9.0', DR2NET_GPU='0'), 'openmmlab', 'no GPU'),
    ],
)
def test_the_stack_is_what_the_machine_can_have(machine, there, stack, why):
    found, error = machine(**there)
    assert found.startswith(f'{stack} (') and why in found
    assert 'has no venv module' in error


@pytest.mark.parametrize(
    'there, message',
    [
        (dict(capability='12.0'), 'no nvcc, which compiles MMCV for this GPU'),
        (dict(capability='9.0', python=(3, 12)), 'no nvcc, which compiles MMCV'),
        (dict(nvcc=True, DR2NET_GPU='1'), 'set TORCH_CUDA_ARCH_LIST, such as 9.0'),
        (dict(python=(3, 14)), 'no Python 3.10 to 3.13 found at DR2NET_PYTHON='),
        (
            dict(python=(3, 12), DR2NET_STACK='openmmlab'),
            'or DR2NET_STACK=onedl for 3.10 to 3.13',
        ),
        (dict(DR2NET_STACK='mm'), "must be openmmlab or onedl, got 'mm'"),
        (dict(DR2NET_GPU='yes'), "DR2NET_GPU must be 0 or 1, got 'yes'"),
    ],
)
def test_what_a_stack_lacks_is_one_line(machine, there, message):
    _, error = machine(**there)
    assert message in error and error.count('\n') == 1


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
