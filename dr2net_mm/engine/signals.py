"""Signals that ask a run to stop, and the dataset workers that they reach as well."""

import functools
import os
import signal
import threading
from typing import Any, Callable, Optional

from torch.utils.data import DataLoader


def _outlive_sigterm(parent: int) -> None:
    """Let only ``parent`` end this process by SIGTERM."""
    # Threads started from here on leave the signal to the one that waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _init_worker(
    parent: int, then: Optional[Callable[[int], Any]], worker_id: int
) -> None:
    _outlive_sigterm(parent)
    if then is not None:
        then(worker_id)


def let_workers_outlive_sigterm(dataloader: DataLoader) -> None:
    """Keep the workers of a dataloader at work when a whole job gets SIGTERM.

    ``scancel`` and torchrun send it to every process. Without its workers the main
    process could not finish its iteration. They still end with the main process.
    """
    if not hasattr(signal, 'sigwaitinfo') or dataloader.num_workers == 0:
        return
    dataloader.worker_init_fn = functools.partial(
        _init_worker, os.getpid(), dataloader.worker_init_fn
    )
