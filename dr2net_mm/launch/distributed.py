"""Process groups on machines without a GPU.

MMEngine's ``pytorch``, ``slurm`` and ``mpi`` launchers call ``torch.cuda.set_device``.
Where there is no accelerator the tools make a gloo group from the same environment
variables before the Runner is built; the Runner leaves an existing group alone.
"""

import atexit
import datetime
import os
import subprocess
import sys
import threading
from typing import Any, Dict, NoReturn, Optional

import torch
from mmengine.device import get_device

from dr2net_mm.errors import UserError

DEFAULT_PORT = '29500'

# Variables of each launcher that hold rank, world size and local rank.
_LAUNCHER_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': (
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
    ),
}
_STARTERS = {
    'pytorch': 'tools/dist_train.sh or tools/dist_test.sh (torchrun)',
    'slurm': 'tools/slurm_train.sh or tools/slurm_test.sh (srun)',
    'mpi': 'mpirun',
}


def _first_slurm_host() -> str:
    """Name of the first host of the slurm job."""
    nodes = os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_NODELIST')
    if not nodes:
        raise UserError('--launcher slurm needs SLURM_NODELIST, which srun sets')
    if '[' not in nodes:
        return nodes.split(',')[0]
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        hosts = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, text=True
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f'cannot expand SLURM_NODELIST={nodes} ({error}); set MASTER_ADDR to the '
            'first host of the job'
        ) from error
    return hosts[0]


def _master_address(launcher: str) -> str:
    if launcher == 'slurm':
        return _first_slurm_host()
    local_size = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE')
    if launcher == 'mpi' and local_size != os.environ.get('OMPI_COMM_WORLD_SIZE'):
        raise UserError('mpirun on several hosts: set MASTER_ADDR to the first host')
    return '127.0.0.1'


def rendezvous_variables(launcher: str) -> Dict[str, str]:
    """Derive the variables of ``torch.distributed`` from the launcher's own.

    Raises:
        UserError: if the launcher did not start this process.
    """
    missing = [name for name in _LAUNCHER_VARIABLES[launcher] if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher} needs {", ".join(missing)} in the environment: '
            f'start this tool through {_STARTERS[launcher]}'
        )
    rank, world_size, local_rank = _LAUNCHER_VARIABLES[launcher]
    return {
        'RANK': os.environ[rank],
        'WORLD_SIZE': os.environ[world_size],
        'LOCAL_RANK': os.environ[local_rank],
        'MASTER_ADDR': os.environ.get('MASTER_ADDR') or _master_address(launcher),
        'MASTER_PORT': os.environ.get('MASTER_PORT') or DEFAULT_PORT,
    }


def init_gloo_without_accelerator(
    launcher: str, timeout: Optional[float] = None
) -> bool:
    """Initialize a gloo process group if the processes have only CPUs.

    Args:
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        timeout: seconds a collective may wait; torch's default if None.

    Returns:
        Whether the processes run on CPUs under a launcher.
    """
    if launcher == 'none' or get_device() not in ('cpu', 'mps'):
        return False
    if not torch.distributed.is_initialized():
        os.environ.update(rendezvous_variables(launcher))
        options: Dict[str, Any] = {}
        if timeout is not None:
            options['timeout'] = datetime.timedelta(seconds=timeout)
        try:
            torch.distributed.init_process_group(backend='gloo', **options)
        except (RuntimeError, ValueError) as error:
            reason = ' '.join(str(error).split())
            place = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
            raise UserError(
                f'the processes cannot meet at {place} ({reason}); if the port is '
                'taken, set MASTER_PORT (PORT for tools/dist_*.sh) to another'
            ) from error
    return True


def leave(code: int) -> NoReturn:
    """End the process with an exit code, whatever gloo's threads are doing.

    A thread of gloo frees the last collective's tensors some time after the collective.
    If the interpreter is being finalized by then, the thread cannot take its lock and
    the process ends by SIGABRT, after a complete training (one exit in ten with
    torch 2.13; a DDP model keeps the group alive beyond ``destroy_process_group``).
    Under gloo the process therefore ends without finalizing the interpreter: after
    threads have ended, exit functions have run and output is written.
    """
    distributed = torch.distributed
    if not distributed.is_initialized() or 'gloo' not in distributed.get_backend():
        sys.exit(code)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
