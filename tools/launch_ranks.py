"""Start the processes of a distributed run with torchrun's options.

Does what ``torchrun`` does, but a failed run ends with the exit code of the process
that failed first and at most one line, where torchrun prints its own stack trace.
"""

import logging
import sys
from typing import List, Optional


def main(argv: Optional[List[str]] = None) -> int:
    """Run torchrun; returns the exit code of the run."""
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
