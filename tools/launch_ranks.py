"""Start the processes of a distributed run with torchrun's options.

Does what ``torchrun`` does, but a failed run ends with the exit code of the process
that failed first and at most one line, where torchrun prints its own stack trace.
"""

import argparse
import logging
import socket
import sys
from typing import List, Optional


def wrong_arguments(argv: Optional[List[str]]) -> Optional[str]:
    """Describe what is wrong with the numbers of processes, machines and port."""
    parser = argparse.ArgumentParser(add_help=False)
    names = ('nnodes', 'node_rank', 'master_port', 'nproc_per_node')
    for name, default in zip(names, (1, 0, 29500, 1)):
        parser.add_argument(f'--{name}', default=default)
    given, _ = parser.parse_known_args(argv)
    words = dict(zip(names, ('NNODES', 'NODE_RANK', 'PORT', 'GPUS')))
    ranges = dict(zip(names, ((1, None), (0, None), (1024, 65535), (1, None))))
    values = {}
    for name in names:
        text = str(getattr(given, name))
        if not text.isdigit():
            lowest, highest = ranges[name]
            upper = f' to {highest}' if highest else ' on'
            return (
                f'{words[name]}={text} is no whole number; give one from {lowest}'
                f'{upper}'
            )
        values[name] = int(text)
    processes, port = values['nproc_per_node'], values['master_port']
    if processes < 1:
        return f'GPUS={processes}: give the number of processes, from 1 on'
    if values['nnodes'] < 1:
        return f'NNODES={values["nnodes"]}: give the number of machines, from 1 on'
    if not values['node_rank'] < values['nnodes']:
        return (
            f'NODE_RANK={values["node_rank"]} must be below NNODES={values["nnodes"]}; '
            'give the machines the ranks from 0 on'
        )
    if not 1 <= port <= 65535:
        return f'PORT={port} is out of range; give one from 1024 to 65535'
    if values['node_rank'] == 0 and not is_free(port):
        return f'PORT={port} is taken, perhaps by another run; set PORT to another'
    import torch

    devices = torch.cuda.device_count()
    if torch.cuda.is_available() and processes > devices:
        return f'GPUS={processes}, but this machine shows {devices}; give at most that'
    return None


def is_free(port: int) -> bool:
    """Return whether a port of this machine can be listened on."""
    with socket.socket() as probe:
        # As torch does: a port whose connections are just being closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True


def main(argv: Optional[List[str]] = None) -> int:
    """Run torchrun; returns the exit code of the run."""
    wrong = wrong_arguments(argv)
    if wrong is not None:
        print(f'launch_ranks.py: error: {wrong}', file=sys.stderr)
        return 2
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Their messages repeat what is said below.
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.main(argv)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            reason = f'was ended by signal {-failure.exitcode}'
            if failure.exitcode == -9:
                reason += ' (out of memory?)'
            print(f'launch_ranks.py: error: rank {rank} {reason}', file=sys.stderr)
            return 128 - failure.exitcode
        return failure.exitcode
    except SignalException as stop:
        # The ranks have had the signal too, and time to save a checkpoint.
        return 128 + stop.sigval
    return 0


if __name__ == '__main__':
    sys.exit(main())
