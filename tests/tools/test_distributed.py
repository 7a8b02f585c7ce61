"""tools/dist_*.sh with real gloo processes, and the slurm scripts' command lines."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from dr2net_mm.errors import UserError
from dr2net_mm.launch.distributed import (
    init_gloo_without_accelerator,
    rendezvous_variables,
)
from tests.fixtures.scripts import load_script

TOOLS = Path(__file__).resolve().parent.parent.parent / 'tools'

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='gloo is for CPUs')


def run_script(script: str, *arguments: str, **variables: str):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    return subprocess.run(
        ['bash', str(TOOLS / script), *map(str, arguments)],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PORT': port, **variables},
        capture_output=True,
        text=True,
    )


@without_gpu
def test_two_gloo_processes_train_and_test_one_model(toy_run):
    done = run_script('dist_train.sh', toy_run.config, '2')
    assert done.returncode == 0, done.stderr
    # Two images, one on each of two processes: one iteration an epoch.
    assert 'Epoch(train) [1][1/1]' in done.stdout + done.stderr
    checkpoint = toy_run.work_dir / 'epoch_1.pth'
    out = toy_run.folder / 'out.pkl'
    arguments = [toy_run.config, checkpoint, '2', '--out', out]
    done = run_script('dist_test.sh', *arguments)
    assert done.returncode == 0, done.stderr
    assert 'coco/bbox_mAP' in done.stdout + done.stderr and out.is_file()


@without_gpu
def test_bad_input_to_several_processes_is_still_one_line(toy_run):
    toy_run.annotation_file.unlink()
    done = run_script('dist_train.sh', toy_run.config, '2')
    assert done.returncode == 2
    assert done.stderr.count('annotations.json') == 1
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'option, words',
    [
        ('--nproc_per_node=two', 'GPUS=two is no whole number; give one from 1 on'),
        ('--nproc_per_node=0', 'GPUS=0'),
        ('--nproc_per_node=-1', 'GPUS=-1'),
        ('--master_port=70000', 'PORT=70000 is out of range'),
        ('--master_port=x', 'PORT=x is no whole number; give one from 1024 to 65535'),
        ('--nnodes=0', 'NNODES=0: give the number of machines'),
        ('--node_rank=3', 'NODE_RANK=3 must be below NNODES=1'),
    ],
)
def test_wrong_numbers_are_one_line(option, words, capsys):
    launch = load_script('launch_ranks.py')
    assert launch.main([option, 'train.py']) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0]


def test_more_processes_than_gpus_are_one_line(monkeypatch, capsys):
    launch = load_script('launch_ranks.py')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with socket.socket() as free:
        free.bind(('', 0))
        port = free.getsockname()[1]
    options = ['--nproc_per_node=8', f'--master_port={port}', 'train.py']
    assert launch.main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'GPUS=8, but this machine shows 2' in line


def test_a_port_that_is_taken_is_one_line(capsys):
    launch = load_script('launch_ranks.py')
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = other.getsockname()[1]
        assert launch.main([f'--master_port={port}', 'train.py']) == 2
    assert f'PORT={port} is taken' in capsys.readouterr().err
    assert launch.is_free(port)


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_a_script_without_arguments_shows_its_usage(script):
    done = run_script(script)
    assert done.returncode == 2 and done.stderr.startswith(
        f'usage: bash tools/{script}'
    )


@pytest.mark.parametrize('gres', ['(null)', 'gpu:a100:8'])
def test_slurm_scripts_ask_for_gpus_only_where_there_are_any(tmp_path, gres):
    # Stand-ins for slurm's commands: one states the partition's resources, the other
    # repeats what it is asked for.
    (tmp_path / 'sinfo').write_text(f'#!/bin/sh\necho "{gres}"\n')
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for command in ('sinfo', 'srun'):
        (tmp_path / command).chmod(0o755)
    variables = dict(
        PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='16', GPUS_PER_NODE='4',
        CPUS_PER_TASK='3', SRUN_ARGS='--quotatype=spot --async',
    )  # fmt: skip
    arguments = ['part', 'job', 'config.py', 'work', '--cfg-options', 'a="x y"']
    done = run_script('slurm_train.sh', *arguments, **variables)
    words = done.stdout.splitlines()
    assert ('--gres=gpu:4' in words) == (gres != '(null)')
    for word in ('--job-name=job', '--ntasks=16', '--ntasks-per-node=4',
                 '--cpus-per-task=3', '--quotatype=spot', '--async', 'config.py',
                 '--work-dir=work', '--launcher=slurm', 'a="x y"'):  # fmt: skip
        assert word in words
    done = run_script('slurm_test.sh', 'part', 'job', 'config.py', 'a.pth', **variables)
    assert ('--gres=gpu:4' in done.stdout) == (gres != '(null)')
    assert '\nconfig.py\na.pth\n--launcher=slurm\n' in done.stdout


@pytest.mark.parametrize(
    ('launcher', 'environment', 'expected'),
    [
        (
            'slurm',
            dict(
                SLURM_PROCID='3', SLURM_NTASKS='8', SLURM_LOCALID='1',
                SLURM_NODELIST='node7',
            ),
            dict(RANK='3', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='node7'),
        ),
        (
            'mpi',
            dict(
                OMPI_COMM_WORLD_RANK='1', OMPI_COMM_WORLD_SIZE='2',
                OMPI_COMM_WORLD_LOCAL_RANK='1', OMPI_COMM_WORLD_LOCAL_SIZE='2',
            ),
            dict(RANK='1', WORLD_SIZE='2', LOCAL_RANK='1', MASTER_ADDR='127.0.0.1'),
        ),
    ],
)  # fmt: skip
def test_the_launchers_variables_become_those_of_torch(
    monkeypatch, launcher, environment, expected
):
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'SLURM_STEP_NODELIST'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rendezvous_variables(launcher) == dict(expected, MASTER_PORT='29500')


def test_a_launcher_that_did_not_start_the_process_names_the_script(monkeypatch):
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    with pytest.raises(UserError, match=r'SLURM_PROCID.*tools/slurm_train\.sh'):
        rendezvous_variables('slurm')


@without_gpu
def test_a_taken_port_names_the_variable_that_sets_another(monkeypatch):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        variables = dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
        variables['MASTER_ADDR'] = '127.0.0.1'
        variables['MASTER_PORT'] = str(taken.getsockname()[1])
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match='set MASTER_PORT'):
            init_gloo_without_accelerator('pytorch')


def test_without_a_launcher_no_process_group_is_made():
    assert not init_gloo_without_accelerator('none')
    assert not torch.distributed.is_initialized()
