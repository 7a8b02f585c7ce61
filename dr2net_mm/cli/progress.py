"""A line on a terminal that says how far a tool is."""

import sys
import time
from typing import Optional, TextIO


class Progress:
    """One line on a terminal: how much is done and how long the rest may take."""

    def __init__(self, total: int, stream: Optional[TextIO] = None) -> None:
        self.total = total
        self.stream = stream or sys.stderr
        self.done = 0
        self.started = time.monotonic()

    def step(self, label: str) -> None:
        """Note that one more part is done; nothing is written to a file or pipe."""
        self.done += 1
        if not self.stream.isatty():
            return
        elapsed = time.monotonic() - self.started
        left = int(elapsed / self.done * (self.total - self.done))
        minutes, seconds = divmod(left, 60)
        text = f'[{self.done}/{self.total}] {label}, ETA {minutes}:{seconds:02d}'
        end = '\n' if self.done == self.total else ''
        self.stream.write(f'\r{text:<78}{end}')
        self.stream.flush()

    def close(self) -> None:
        """End the line where there were fewer parts than expected."""
        if self.done < self.total and self.stream.isatty():
            self.stream.write('\n')
            self.stream.flush()
