"""Rank of this process before a process group exists."""

import os


def launcher_rank() -> int:
    """Rank of this process as its launcher's environment states it, 0 without one."""
    for name in ('RANK', 'OMPI_COMM_WORLD_RANK', 'SLURM_PROCID'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0
