"""A queue of runs through ``tools/train.py`` that goes on where it was killed."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from dr2net_mm.errors import UserError
from dr2net_mm.launch.work_dir_lock import owned

from .progress import QueueProgress
from .record import (
    curve,
    gradient_errors,
    machine,
    record_file,
    recorded_config,
    versions,
    write_record,
)
from .rows import by_importance, row_named
from .run_config import (
    RECORDED,
    counted_memory,
    iterations_of_epoch,
    run_config,
)
from .tasks import Task

REPOSITORY = Path(__file__).resolve().parents[2]

#: Exit codes above it, and negative ones, are those of a signal.
EXIT_SIGNAL = 128

#: Seconds between two looks at the log of a run.
LOOK = 2.0


class Run(NamedTuple):
    """One place in a queue."""

    row: str
    seed: int


def queue_order(rows: Sequence[str], seeds: Sequence[int]) -> List[Run]:
    """Return runs in the order in which they are worth having.

    Each seed with all rows before the next seed, the important rows first.
    """
    return [Run(row, seed) for seed in seeds for row in by_importance(rows)]


class Queue:
    """Trains one run after the other and writes a record of each.

    A run whose record is there is left out. One that was interrupted starts again, in
    an empty work dir.

    Args:
        task: What is trained.
        records: Folder of the records.
        work_dir: Folder of the runs' logs.
        threads: Of each run; results depend on it in the last digits.
        progress: Shows how far the queue is.
    """

    def __init__(
        self,
        task: Task,
        records: Path,
        work_dir: Path,
        threads: int = 1,
        progress: Optional[QueueProgress] = None,
    ) -> None:
        self.task = task
        self.records = records
        self.work_dir = work_dir
        self.threads = threads
        self.progress = progress or QueueProgress()
        self.iters_per_epoch = iterations_of_epoch(task)

    def missing(self, runs: Sequence[Run]) -> List[Run]:
        """Return the runs that have no record yet."""
        return [run for run in runs if not self._record_file(run).is_file()]

    def work(self, runs: Sequence[Run]) -> None:
        """Train what is missing.

        Raises:
            UserError: If a training could not start or was stopped from outside.
        """
        missing = self.missing(runs)
        config = run_config(
            self.task, row_named(missing[0].row), 0, self.iters_per_epoch
        )
        iterations = config.train_cfg.max_epochs * self.iters_per_epoch
        self.progress.begin(len(missing), iterations)
        with _termination_raised():
            for run in missing:
                self._train(run)

    def _record_file(self, run: Run) -> Path:
        return record_file(self.records, self.task.name, run.row, run.seed)

    def _train(self, run: Run) -> None:
        row = row_named(run.row)
        config = run_config(self.task, row, run.seed, self.iters_per_epoch)
        folder = self.work_dir / self.task.name / f'{run.row}-seed{run.seed}'
        # Refuses where a killed queue has left its training behind.
        with owned(str(folder)):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # Not in the folder itself, where the Runner writes its own copy.
        config_file = folder.with_suffix('.config.py')
        config.dump(str(config_file))
        self.progress.start(f'{run.row}, seed {run.seed}')
        code, seconds, output = self._run(config_file, folder)
        if code < 0 or code > EXIT_SIGNAL:
            raise UserError(
                f'the run {run.row}, seed {run.seed}, was stopped from outside (exit '
                f'code {code}) and has no record; the same command begins it again'
            )
        log = _scalars(folder)
        failure = None if code == 0 else _last_line(output)
        if failure is not None and not any('loss' in line for line in log):
            raise UserError(
                f'the run {run.row}, seed {run.seed}, did not start: {failure}; see '
                f'{folder / "output.txt"}'
            )
        metrics = _metrics(log) if failure is None else None
        record = dict(
            task=self.task.name,
            row=run.row,
            seed=run.seed,
            metrics=metrics,
            failure=failure,
            gradient_error=gradient_errors(log),
            memory=counted_memory(row, config),
            cpu_seconds=round(seconds, 1),
            iterations=self.iters_per_epoch * config.train_cfg.max_epochs,
            curve=curve(log),
            config=recorded_config(config, RECORDED),
            versions=versions(),
            machine=f'{machine()}, {self.threads} thread(s)',
        )
        write_record(self._record_file(run), record)
        shown = failure if metrics is None else f'{metrics[self.task.metric]:.4f}'
        self.progress.finish(f'{self.task.metric_name} {shown}')

    def _run(self, config_file: Path, folder: Path) -> Any:
        """Run tools/train.py: exit code, seconds of processor time, its output."""
        environment = dict(os.environ, OMP_NUM_THREADS=str(self.threads))
        paths = [str(REPOSITORY), environment.get('PYTHONPATH')]
        environment['PYTHONPATH'] = os.pathsep.join(path for path in paths if path)
        command = [sys.executable, str(REPOSITORY / 'tools/train.py')]
        command += [str(config_file.resolve()), '--work-dir', str(folder.resolve())]
        output = folder / 'output.txt'
        before = _children_seconds()
        with output.open('w') as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=environment,
            )
            try:
                while True:
                    try:
                        code = process.wait(timeout=LOOK)
                        break
                    except subprocess.TimeoutExpired:
                        self.progress.show(len(_scalars(folder)))
            finally:
                # Also where the queue itself is interrupted or terminated.
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        return code, _children_seconds() - before, output.read_text(errors='replace')


@contextlib.contextmanager
def _termination_raised() -> Iterator[None]:
    """Raise SystemExit at SIGTERM, so that the training ends with the queue."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _scalars(folder: Path) -> List[Dict[str, Any]]:
    """Return the logged scalars of a run; a line that is being written is left out."""
    lines: List[Dict[str, Any]] = []
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def _metrics(log: Sequence[Dict[str, Any]]) -> Dict[str, float]:
    """Return what the evaluation at the end of a run logged."""
    measured = [line for line in log if any('/' in key for key in line)]
    last = measured[-1]
    return {
        key: round(value, 6)
        for key, value in last.items()
        if '/' in key and not key.startswith('dr2/')
    }


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else 'it said nothing'
