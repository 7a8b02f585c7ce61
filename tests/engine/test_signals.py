import os
import signal
import time

import pytest
from torch.utils.data import DataLoader

from dr2net_mm.engine.signals import let_workers_outlive_sigterm
from dr2net_mm.errors import StoppedBySignal

pytestmark = pytest.mark.skipif(
    not hasattr(signal, 'sigwaitinfo'), reason='needs the signals of POSIX'
)


def initialized(worker_id):
    os.environ['WORKER_WAS_INITIALIZED'] = str(worker_id)


class WhoLoads:
    """Samples are the process that loads them and what its initialization left."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return os.getpid(), os.environ.get('WORKER_WAS_INITIALIZED')


def test_workers_go_on_after_sigterm_from_others_and_end_with_the_loader():
    dataloader = DataLoader(
        WhoLoads(), num_workers=1, collate_fn=list, worker_init_fn=initialized
    )
    let_workers_outlive_sigterm(dataloader)
    batches = iter(dataloader)
    ((worker, initialization),) = next(batches)
    assert initialization == '0'
    # From a process that is not the parent, as slurm's.
    assert os.system(f'kill -TERM {worker}') == 0
    time.sleep(0.2)
    assert all(batch[0][0] == worker for batch in batches)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_workers_end_by_sigterm_from_their_parent():
    dataloader = DataLoader(
        WhoLoads(), num_workers=1, collate_fn=list, persistent_workers=True
    )
    let_workers_outlive_sigterm(dataloader)
    iterator = iter(dataloader)
    next(iterator)
    (worker,) = iterator._workers
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0


def test_the_exit_code_is_that_of_a_process_ended_by_the_signal():
    assert StoppedBySignal(signal.SIGTERM, 'stopped').exit_code == 143
