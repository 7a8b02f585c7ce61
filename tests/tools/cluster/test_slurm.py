"""The slurm scripts on a real slurm, on this machine."""

import importlib.util
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
    spec = importlib.util.spec_from_file_location('cluster', HERE / 'slurm_cluster.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_slurm_trains_and_tests_to_the_numbers_of_dist_train(
    submit, make_run, uninterrupted
):
    run = make_run('epochs', LONGER)
    job = submit(run, 'slurm_train.sh', 'test', 'whole', run.config, run.work_dir)
    assert job.wait(300) == 0, run.output()
    assert not run.differences(uninterrupted)

    checkpoint = (run.work_dir / 'last_checkpoint').read_text()
    options = ['test', 'tested', run.config, checkpoint, f'--work-dir={run.folder}/t']
    assert submit(run, 'slurm_test.sh', *options).wait(300) == 0, run.output()
    (report,) = (run.folder / 't').glob('*/*.json')
    tested = json.loads(report.read_text())
    validated = uninterrupted.logged()[2, False]
    assert 'coco/bbox_mAP' in validated
    for name in validated:
        assert name == 'step' or tested[name] == validated[name]


def test_a_job_that_slurm_or_its_node_ends_goes_on_to_the_same_numbers(
    module, slurm, submit, make_run, uninterrupted
):
    run = make_run('epochs', LONGER)
    arguments = ['slurm_train.sh', 'test', 'stopped', run.config, run.work_dir]

    def reached(line: str) -> bool:
        assert job.poll() is None, run.output()
        return re.search(line, run.output()) is not None

    job = submit(run, *arguments)
    module.wait_until(lambda: reached(r'\[1\]\[ 2/15\]'), 'the second iteration', 300)
    slurm.ask('scancel', '--name=stopped')
    assert job.wait(300) == 128 + signal.SIGTERM, run.output()
    assert (run.work_dir / 'interrupted.pth').is_file(), run.output()

    job = submit(run, *arguments, '--resume')
    module.wait_until(lambda: reached(r'\[2\]\[ 2/15\]'), 'the second epoch', 300)
    os.kill(slurm.processes('stopped')[1], signal.SIGTERM)
    assert job.wait(300) == 128 + signal.SIGTERM, run.output()

    assert submit(run, *arguments, '--resume').wait(300) == 0, run.output()
    assert run.output().count('resumed epoch') == 2
    assert run.output().count('stopped by SIGTERM') == 2
    assert not run.differences(uninterrupted)
