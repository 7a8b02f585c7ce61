"""The slurm scripts on a real slurm, on this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

from tests.fixtures.scripts import load_script

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[2] / 'tools'

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason='the node of the test offers no GPUs'
)

# Two epochs of 15 iterations for two ranks: time to be told to stop.
LONGER = """
train_dataloader.update(batch_size=1)
train_dataloader['dataset'].update(times=15)
custom_hooks[1].update(end_iter=25)
"""


@pytest.fixture(scope='module')
def module():
    """slurm_cluster.py, imported by its path."""
    return load_script(HERE / 'slurm_cluster.py')


@pytest.fixture(scope='module')
def slurm(module):
    reason = module.install()
    if reason is not None:
        pytest.skip(reason)
    # A path for sockets has to be short.
    folder = Path(tempfile.mkdtemp(prefix='slurm'))
    cluster = module.SlurmCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(str(folder), ignore_errors=True)


@pytest.fixture(scope='module')
def submit(module, slurm):
    """Starts one of tools/*.sh for two processes; its output goes to the run's."""

    def start(run, script: str, *arguments: str) -> subprocess.Popen:
        port = str(module.free_port())
        variables = dict(
            GPUS='2', GPUS_PER_NODE='2', CPUS_PER_TASK='1', PORT=port, MASTER_PORT=port
        )
        with (run.folder / 'output.txt').open('a') as output:
            return subprocess.Popen(
                ['bash', str(TOOLS / script), *map(str, arguments)],
                env={**slurm.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    return start


@pytest.fixture(scope='module')
def uninterrupted(submit, make_run):
    """The run by tools/dist_train.sh, without slurm."""
    run = make_run('epochs', LONGER)
    job = submit(run, 'dist_train.sh', run.config, '2')
    assert job.wait(300) == 0, run.output()
    return run


@pytest.fixture(scope='module')
def interrupted(module, slurm, submit, make_run):
    """The same run by tools/slurm_train.sh: cancelled, then ended by its node."""
    run = make_run('epochs', LONGER)
    arguments = ['slurm_train.sh', 'test', 'training', run.config, run.work_dir]

    def reached(line: str) -> bool:
        assert job.poll() is None, run.output()
        return re.search(line, run.output()) is not None

    job = submit(run, *arguments)
    module.wait_until(lambda: reached(r'\[1\]\[ 2/15\]'), 'the second iteration', 300)
    slurm.ask('scancel', '--name=training')
    assert job.wait(300) == 128 + signal.SIGTERM, run.output()

    job = submit(run, *arguments, '--resume')
    module.wait_until(lambda: reached(r'\[2\]\[ 2/15\]'), 'the second epoch', 300)
    # To one of the ranks: the other has to learn of it.
    os.kill(slurm.processes('training')[1], signal.SIGTERM)
    assert job.wait(300) == 128 + signal.SIGTERM, run.output()

    assert submit(run, *arguments, '--resume').wait(300) == 0, run.output()
    return run


def test_a_job_ended_by_slurm_or_its_node_goes_on_to_the_numbers_of_dist_train(
    interrupted, uninterrupted
):
    output = interrupted.output()
    assert output.count('stopped by SIGTERM') == output.count('resumed epoch') == 2
    assert 'CANCELLED' in output
    assert not interrupted.differences(uninterrupted)


def test_slurm_tests_a_checkpoint_to_the_metrics_of_its_training(
    submit, interrupted, uninterrupted
):
    checkpoint = (interrupted.work_dir / 'last_checkpoint').read_text()
    results = interrupted.folder / 'tested'
    arguments = [interrupted.config, checkpoint, f'--work-dir={results}']
    job = submit(interrupted, 'slurm_test.sh', 'test', 'testing', *arguments)
    assert job.wait(300) == 0, interrupted.output()
    (report,) = results.glob('*/*.json')
    tested = json.loads(report.read_text())
    validated = uninterrupted.logged()[2, False]
    names = [name for name in validated if name.startswith('coco/')]
    assert names and [tested[name] for name in names] == [
        validated[name] for name in names
    ]
