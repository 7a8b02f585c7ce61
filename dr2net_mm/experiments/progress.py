"""How far a queue of runs is, and how long it will take."""

import sys
import time
from typing import Callable, Optional, TextIO

_WIDTH = 28


class QueueProgress:
    """Shows a bar over all iterations of a queue, with the time that is left.

    On a terminal the bar is redrawn in place; elsewhere there is a line a run.

    Args:
        file: Where it is shown, stderr by default.
        clock: Gives seconds.
    """

    def __init__(
        self,
        file: Optional[TextIO] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file = file or sys.stderr
        self.clock = clock
        self._name = ''
        self._runs = self._done = self._iterations = 0
        self._began = clock()

    def begin(self, runs: int, iterations: int) -> None:
        """Start the clock for a number of runs of some iterations each."""
        self._runs, self._iterations, self._done = runs, iterations, 0
        self._began = self.clock()

    def start(self, name: str) -> None:
        """Note that a run starts."""
        self._name = name
        self.show(0)

    def show(self, iteration: int) -> None:
        """Redraw the bar for an iteration of the present run."""
        if self.file.isatty():
            self.file.write(f'\r\033[K{self.line(iteration)}')
            self.file.flush()

    def finish(self, result: str) -> None:
        """Note that a run is over, with its result."""
        self._done += 1
        clear = '\r\033[K' if self.file.isatty() else ''
        place = f'{self._done}/{self._runs}'
        left = f'{_duration(self.seconds_left(0))} left'
        self.file.write(f'{clear}[{place}] {self._name}: {result} ({left})\n')
        self.file.flush()

    def seconds_left(self, iteration: int) -> Optional[float]:
        """Return the seconds that are left at the mean pace so far; None at first."""
        done = self._done * self._iterations + iteration
        if not done:
            return None
        left = self._runs * self._iterations - done
        return (self.clock() - self._began) * left / done

    def line(self, iteration: int) -> str:
        """Return the bar as text."""
        total = max(self._runs * self._iterations, 1)
        done = min(self._done * self._iterations + iteration, total)
        filled = _WIDTH * done // total
        bar = '#' * filled + '.' * (_WIDTH - filled)
        return (
            f'[{bar}] run {self._done + 1}/{self._runs}: {self._name}, iteration '
            f'{iteration}/{self._iterations}, ETA '
            f'{_duration(self.seconds_left(iteration))}'
        )


def _duration(seconds: Optional[float]) -> str:
    """Write hours and minutes, or minutes and seconds."""
    if seconds is None:
        return '?'
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min {rest:02d} s'
