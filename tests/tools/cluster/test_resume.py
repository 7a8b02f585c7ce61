"""A training that is interrupted anywhere and resumed ends with the same numbers."""

import os
import random
import shutil
import signal
import socket
import time
from typing import List

import pytest

KILLED = -signal.SIGKILL
TERMINATED = 128 + signal.SIGTERM

WORKERS = """
train_dataloader.update(num_workers=2, persistent_workers=True)
val_dataloader.update(num_workers=1, persistent_workers=True)
"""
# Three ranks: gradients that DDP sums in other groups would differ in the last bit.
RANKS = 3
FOR_RANKS = """
train_dataloader.update(batch_size=1)
train_dataloader['dataset'].update(times=6)
find_unused_parameters = True
"""
WITHOUT_SEED = 'randomness = dict(seed=None)'
KEEP_ALL = "default_hooks['checkpoint'].pop('max_keep_ckpts')"


# Where the process dies, and the iteration (from 0; epochs have three).
@pytest.mark.parametrize(
    ('unit', 'moment', 'at'),
    [
        ('epochs', 'data', 5),
        ('epochs', 'write', 5),
        ('epochs', 'record', 2),
        ('metric', 'validation', 2),
        ('iterations', 'forward', 4),
        ('iterations', 'backward', 3),
        ('iterations', 'update', 2),
        ('iterations', 'write', 5),
        ('iterations', 'written', 1),
        ('iterations', 'validation', 2),
    ],
)
def test_a_killed_run_goes_on_to_the_same_numbers(
    server, reference, make_run, unit, moment, at
):
    run = make_run(unit)
    run.inject(moment, at)
    assert server.train(run) == KILLED, run.output()
    run.inject()
    assert server.train(run, '--resume') == 0, run.output()
    assert 'resumed epoch' in run.output()
    assert not run.differences(reference(unit))


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_numbers(
    server, reference, make_run
):
    run = make_run('iterations')
    moment = random.Random(0)
    for _ in range(4):
        process = server.start(run, '--resume')
        time.sleep(moment.uniform(0.5, 3.0))
        os.kill(process, signal.SIGKILL)
        assert server.wait(process) in (KILLED, 0)
    assert server.train(run, '--resume') == 0, run.output()
    assert not run.differences(reference('iterations'))


def children(process: int) -> List[int]:
    listing = f'/proc/{process}/task/{process}/children'
    with open(listing) as file:
        return [int(child) for child in file.read().split()]


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='looks for processes there')
def test_sigterm_to_all_processes_saves_within_an_epoch_and_workers_change_nothing(
    server, reference, make_run
):
    run = make_run('epochs', WORKERS)
    process = server.start(run)
    while '[2][1/3]' not in run.output():
        time.sleep(0.02)
    for receiver in [*children(process), process]:
        os.kill(receiver, signal.SIGTERM)
    assert server.wait(process) == TERMINATED, run.output()
    last = run.output().splitlines()[-1]
    assert 'stopped by SIGTERM after iteration' in last and '--resume' in last
    assert 'interrupted.pth' in last and 'Traceback' not in run.output()
    assert server.train(run, '--resume') == 0, run.output()
    assert not run.differences(reference('epochs'))


def start_ranks(server, run, *arguments: str) -> List[int]:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    common = dict(WORLD_SIZE=str(RANKS), MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    return [
        server.start(
            run,
            '--launcher=pytorch',
            *arguments,
            environment=dict(common, RANK=str(rank), LOCAL_RANK=str(rank)),
        )
        for rank in range(RANKS)
    ]


def test_all_ranks_stop_when_one_is_told_to_and_go_on_to_the_same_numbers(
    server, make_run
):
    whole, run = make_run('epochs', FOR_RANKS), make_run('epochs', FOR_RANKS)
    processes = start_ranks(server, whole)
    assert [server.wait(process) for process in processes] == [0] * 3, whole.output()
    run.inject('terminate', 2, rank=1)
    processes = start_ranks(server, run)
    codes = [server.wait(process) for process in processes]
    assert codes == [TERMINATED] * 3, run.output()
    assert run.output().count('stopped by SIGTERM after iteration 3') == 1
    run.inject()
    processes = start_ranks(server, run, '--resume')
    assert [server.wait(process) for process in processes] == [0] * 3, run.output()
    assert not run.differences(whole)


def test_a_run_without_a_seed_in_its_config_goes_on_in_its_own_order(server, make_run):
    run = make_run('epochs', WITHOUT_SEED, KEEP_ALL)
    assert server.train(run) == 0, run.output()
    resumed = make_run('epochs', WITHOUT_SEED, KEEP_ALL)
    resumed.work_dir.mkdir()
    shutil.copy(str(run.work_dir / 'epoch_1.pth'), str(resumed.work_dir))
    assert server.train(resumed, '--resume') == 0, resumed.output()
    differences = set(run.differences(resumed))
    # The first epoch was logged elsewhere.
    assert differences == {'logged'}


def test_another_number_of_iterations_an_epoch_is_refused_with_both_numbers(
    server, make_run
):
    run = make_run('epochs')
    run.inject('terminate', 1)
    assert server.train(run) == TERMINATED, run.output()
    run.inject()
    options = ['--resume', '--cfg-options', 'train_dataloader.batch_size=1']
    assert server.train(run, *options) == 2
    last = run.output().splitlines()[-1]
    assert 'train.py: error' in last and '3 iterations' in last and 'has 6' in last
    assert 'load_from' in last
