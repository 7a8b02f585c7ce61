"""One training run at a time writes into a work dir.

Rank 0 keeps a record in the folder and touches it while it lives. Locks of the kernel
(``flock``, ``fcntl``) would not do: not every network file system passes them on
between hosts. A record counts as long as its run shows a sign of life: on the same host
its process, on another one a time stamp that moves.
"""

import atexit
import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Iterator, Optional

from dr2net_mm.errors import UserError
from dr2net_mm.rank import launcher_rank

LOCK_NAME = '.training.lock'

#: Seconds between two signs of life.
HEARTBEAT = 10.0

#: Seconds without one after which the run on another host is taken for dead.
PATIENCE = 60.0


class WorkDirLock:
    """Ownership of a work dir by this process.

    A run that is killed needs no cleaning up: its process is gone, which the same host
    sees at once. On another host, as after a requeue of slurm, the record of the dead
    run is watched for up to ``PATIENCE`` seconds; the same slurm job takes it over at
    once, since slurm starts a job again only when it is over.

    Args:
        work_dir: The folder; it is created.
        heartbeat: Seconds between two signs of life.
        patience: Seconds to watch the record of a run on another host.
    """

    def __init__(
        self, work_dir: str, heartbeat: float = HEARTBEAT, patience: float = PATIENCE
    ) -> None:
        self.path = Path(work_dir) / LOCK_NAME
        self.work_dir = work_dir
        self.heartbeat = heartbeat
        self.patience = patience
        self._token = uuid.uuid4().hex
        self._released = threading.Event()

    def acquire(self) -> None:
        """Take the folder.

        Raises:
            UserError: If a living run has it; it names that run.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            if self._create():
                break
            other = self._read()
            if other is not None and self._lives(other):
                raise UserError(
                    f'work dir {self.work_dir!r} belongs to a run that goes on: '
                    f'process {other.get("pid")} on {other.get("host")}, since '
                    f'{other.get("since")}; wait for it, end it, or give another '
                    f'--work-dir (if no such run exists, delete {str(self.path)!r})'
                )
            self._remove(other)
        threading.Thread(target=self._beat, daemon=True).start()
        atexit.register(self.release)

    def release(self) -> None:
        """Give the folder back; nothing happens where another run has it."""
        if not self._released.is_set():
            self._released.set()
            atexit.unregister(self.release)
            self._remove(dict(token=self._token))

    def _create(self) -> bool:
        """Write the record unless there is one; the link is atomic on NFS too."""
        record = dict(
            token=self._token,
            pid=os.getpid(),
            started=_start_of(os.getpid()),
            host=socket.gethostname(),
            job=os.environ.get('SLURM_JOB_ID'),
            since=time.strftime('%Y-%m-%d %H:%M:%S'),
        )
        aside = self.path.with_name(f'{LOCK_NAME}.{self._token}')
        aside.write_text(json.dumps(record))
        try:
            os.link(str(aside), str(self.path))
            return True
        except FileExistsError:
            return False
        except OSError:
            # A file system without hard links.
            return self._create_exclusively(record)
        finally:
            aside.unlink()

    def _create_exclusively(self, record: Dict[str, Any]) -> bool:
        try:
            with open(str(self.path), 'x') as file:
                file.write(json.dumps(record))
            return True
        except FileExistsError:
            return False

    def _read(self) -> Optional[Dict[str, Any]]:
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _lives(self, other: Dict[str, Any]) -> bool:
        if other.get('host') == socket.gethostname():
            pid = other.get('pid')
            return isinstance(pid, int) and _start_of(pid) == other.get('started')
        job = os.environ.get('SLURM_JOB_ID')
        if job is not None and job == other.get('job'):
            return False
        return self._moves()

    def _moves(self) -> bool:
        """Return whether the record is still touched, by a clock of its own."""
        before, end = self._stamp(), time.monotonic() + self.patience
        while time.monotonic() < end:
            time.sleep(min(self.heartbeat, self.patience) / 4)
            if self._stamp() != before:
                return True
        return False

    def _stamp(self) -> Optional[int]:
        try:
            # Reading refreshes what NFS remembers of a file.
            with open(str(self.path), 'rb') as file:
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return None

    def _remove(self, other: Optional[Dict[str, Any]]) -> None:
        """Remove a record, unless it is no longer the one that was looked at."""
        now = self._read()
        if now is not None and (other or {}).get('token') != now.get('token'):
            return
        try:
            self.path.unlink()
        except FileNotFoundError:
            pass

    def _beat(self) -> None:
        while not self._released.wait(self.heartbeat):
            try:
                os.utime(str(self.path))
            except OSError:
                # The folder may have been removed; the run then fails by itself.
                pass


@contextlib.contextmanager
def owned(work_dir: str) -> Iterator[None]:
    """Reserve the work dir for a training run, by its rank 0.

    Raises:
        UserError: If another run has it.
    """
    lock = WorkDirLock(work_dir) if launcher_rank() == 0 else None
    if lock is not None:
        lock.acquire()
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _start_of(pid: int) -> Optional[str]:
    """Return when a process began, to recognize a number used again.

    None if there is no such process.
    """
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    except OSError:
        if os.path.isdir('/proc/self'):
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return 'unknown'
    # A zombie writes nothing.
    return None if fields[0] == 'Z' else fields[19]
