"""A distributed process on CPUs ends with its exit code, after its last output."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, logging, sys, threading, time

import torch.distributed
from dr2net_mm.launch.distributed import leave

if {grouped}:
    torch.distributed.init_process_group(
        'gloo', init_method='file://{store}', rank=0, world_size=1
    )
atexit.register(lambda: print('exit function'))


def finish():
    time.sleep(0.2)
    print('thread')


threading.Thread(target=finish).start()
leave(7)
"""


@pytest.mark.parametrize('grouped', [True, False])
def test_threads_and_exit_functions_are_waited_for(tmp_path, grouped):
    script = SCRIPT.format(grouped=grouped, store=tmp_path / 'store')
    done = subprocess.run(
        [sys.executable, '-c', script],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, GLOO_SOCKET_IFNAME='lo'),
    )
    assert done.returncode == 7
    assert done.stdout.split('\n') == ['thread', 'exit function', '']
