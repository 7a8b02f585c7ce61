"""Records of a task, row by row."""

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional

from .rows import ROWS, Row
from .statistics import Difference, Sample, paired_difference, sample
from .tasks import Task

#: What rows are compared with.
REFERENCE = 'conventional'


@dataclass
class RowSummary:
    """What the seeds of a row gave.

    Attributes:
        row: The row.
        values: The task's metric by seed; a seed that failed is not in it.
        failures: Why, by seed.
        records: All records by seed.
    """

    row: Row
    values: Dict[int, float] = field(default_factory=dict)
    failures: Dict[int, str] = field(default_factory=dict)
    records: Dict[int, Dict[str, Any]] = field(default_factory=dict)

    @property
    def sample(self) -> Optional[Sample]:
        """Mean and deviation of the metric; None where every seed failed."""
        return sample(list(self.values.values())) if self.values else None

    def gradient_error(self, moment: str) -> Optional[float]:
        """Return the largest gradient error of the seeds, 'first' or 'last'."""
        errors = [
            float(record['gradient_error'][moment])
            for record in self.records.values()
            if record['gradient_error'] is not None
        ]
        return max(errors) if errors else None

    @property
    def peak_bytes(self) -> int:
        """Counted peak of the activations of a training step."""
        return next(iter(self.records.values()))['memory']['peak_bytes']

    @property
    def cpu_seconds(self) -> Dict[int, float]:
        """Processor time by seed."""
        return {seed: record['cpu_seconds'] for seed, record in self.records.items()}


class Summary:
    """All records of a task.

    Args:
        task: The task.
        records: Its records.
    """

    def __init__(self, task: Task, records: Iterable[Dict[str, Any]]) -> None:
        self.task = task
        self.rows: Dict[str, RowSummary] = {}
        found = sorted(records, key=lambda record: record['seed'])
        for name, row in ROWS.items():
            for record in found:
                if record['row'] == name:
                    self._add(row, record)

    def _add(self, row: Row, record: Dict[str, Any]) -> None:
        one = self.rows.setdefault(row.name, RowSummary(row))
        one.records[record['seed']] = record
        if record['metrics'] is None:
            one.failures[record['seed']] = record['failure']
        else:
            one.values[record['seed']] = record['metrics'][self.task.metric]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def difference(self, row: str, other: str = REFERENCE) -> Optional[Difference]:
        """Return the paired difference of two rows; None where one has not been run."""
        if row not in self.rows or other not in self.rows:
            return None
        return paired_difference(self.rows[row].values, self.rows[other].values)

    def relative_time(self, row: str) -> Optional[float]:
        """Return a row's processor time over that of conventional training."""
        if row not in self.rows or REFERENCE not in self.rows:
            return None
        own, other = self.rows[row].cpu_seconds, self.rows[REFERENCE].cpu_seconds
        seeds = own.keys() & other.keys()
        if not seeds:
            return None
        return sum(own[s] for s in seeds) / sum(other[s] for s in seeds)

    @property
    def cpu_hours(self) -> float:
        """Processor time of all runs, in hours."""
        used = [sum(one.cpu_seconds.values()) for one in self.rows.values()]
        return sum(used) / 3600

    @property
    def machines(self) -> List[str]:
        """Where the runs were made."""
        return sorted(
            {
                record['machine']
                for one in self.rows.values()
                for record in one.records.values()
            }
        )
