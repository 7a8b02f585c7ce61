"""Counts what a training process holds over many steps, and whether it grows."""

import gc
import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import torch

from dr2net_mm.analysis.memory.storage_meter import LiveBytes
from dr2net_mm.backbones.base.dual_residual import dual_residual_backbones
from dr2net_mm.errors import UserError
from dr2net_mm.reversible.schedule import CoefficientSchedule

from .process_gauges import (
    CacheSize,
    cache_sizes,
    child_count,
    open_files,
    reachable_objects,
    resident_bytes,
    thread_count,
    wait_for_loaders,
)
from .task import SoakTask, train_step

#: How much more of something there may be after the last epoch than after the first
#: one that counts; None: it is shown only. Python keeps a few objects for itself.
ALLOWED_GROWTH: Dict[str, Optional[float]] = dict(
    live_bytes=64 * 1024,
    peak_bytes=None,
    resident_bytes=None,
    open_files=0,
    threads=0,
    children=0,
    objects=100,
)


class Record(NamedTuple):
    """Figures of a soak.

    Attributes:
        steps: Of every step: `live_bytes` after it, `peak_bytes` within it,
            `resident_bytes` of the process after it.
        epochs: After every epoch: `open_files`, `threads`, `children`, `objects`.
        caches: Entries of caches after the last epoch.
        steps_per_epoch: Steps of an epoch, one for each size.
    """

    steps: Dict[str, List[Optional[int]]]
    epochs: Dict[str, List[Optional[int]]]
    caches: Dict[str, CacheSize]
    steps_per_epoch: int


class Gauge(NamedTuple):
    """First and last amount of one thing that must not grow.

    Attributes:
        name: One of :data:`ALLOWED_GROWTH`.
        before: Its amount in the first epoch that counts.
        after: Its amount in the last epoch.
        growth: The most by which a step of the last epoch exceeds the step with the
            same input in the first epoch that counts; for memory of the process, which
            does not repeat itself, the difference of the two amounts.
        allowed: The most that is in order; None if any growth is.
    """

    name: str
    before: int
    after: int
    growth: int
    allowed: Optional[float]

    @property
    def passed(self) -> bool:
        """Whether the growth is allowed."""
        return self.allowed is None or self.growth <= self.allowed


class _CudaBytes:
    """Counter of :class:`LiveBytes` by CUDA's own allocator."""

    def __enter__(self) -> '_CudaBytes':
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def restart_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    @property
    def now(self) -> int:
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    @property
    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()


def soak(
    task: SoakTask,
    epochs: int,
    schedule: Optional[CoefficientSchedule] = None,
    after_step: Callable[[int], None] = lambda step: None,
) -> Record:
    """Train for some epochs and note what is held after each step and epoch.

    Args:
        task: What is trained.
        epochs: Each has one step for every size.
        schedule: Coefficients of the dual-residual backbones, step by step.
        after_step: Called with the number of steps done.

    Raises:
        UserError: If a loss is not finite.
    """
    model = task.model
    backbones = list(dual_residual_backbones(model).values())
    resident = [*model.parameters(), *model.buffers()]
    on_cuda = resident[0].device.type == 'cuda'
    meter = _CudaBytes() if on_cuda else LiveBytes(resident, 'cpu')
    steps: Dict[str, List[Optional[int]]] = {
        name: [] for name in ('live_bytes', 'peak_bytes', 'resident_bytes')
    }
    counts: Dict[str, List[Optional[int]]] = {
        name: [] for name in ('open_files', 'threads', 'children', 'objects')
    }
    done = 0
    # What exists already need not be looked through after each epoch.
    gc.collect()
    gc.freeze()
    try:
        with meter:
            for _ in range(epochs):
                batches = iter(task.batches)
                for _ in task.sizes:
                    if schedule is not None:
                        for backbone in backbones:
                            backbone.set_coefficients(*schedule.coefficients(done))
                    meter.restart_peak()
                    loss = train_step(task, next(batches))
                    done += 1
                    steps['live_bytes'].append(meter.now)
                    steps['peak_bytes'].append(meter.peak)
                    steps['resident_bytes'].append(resident_bytes())
                    if not math.isfinite(loss):
                        raise UserError(f'the loss is {loss} after {done} steps')
                    for backbone in backbones:
                        backbone.check_overflow()
                    after_step(done)
                del batches
                wait_for_loaders()
                counts['open_files'].append(open_files())
                counts['threads'].append(thread_count())
                counts['children'].append(child_count())
                counts['objects'].append(reachable_objects())
    finally:
        gc.unfreeze()
    return Record(steps, counts, cache_sizes(model), len(task.sizes))


def judge(
    record: Record,
    warm_up: int,
    allowed: Dict[str, Optional[float]],
    settled: int = 0,
) -> List[Gauge]:
    """Compare the last epoch with the first one after the warm-up.

    Args:
        record: Of :func:`soak`.
        warm_up: Epochs that do not count.
        allowed: Growth that is in order, see :data:`ALLOWED_GROWTH`.
        settled: Epochs in which coefficients move. Python objects are compared from
            then on, because new coefficients may take new storage plans.

    Returns:
        One gauge for everything that the system could count.
    """
    length = record.steps_per_epoch
    gauges = []
    for name, limit in allowed.items():
        if name in record.steps:
            values = record.steps[name]
            compared = values[warm_up * length : (warm_up + 1) * length]
            latest = values[-length:]
        else:
            values = record.epochs[name]
            start = max(warm_up, settled) if name == 'objects' else warm_up
            compared, latest = values[start : start + 1], values[-1:]
        first = [value for value in compared if value is not None]
        last = [value for value in latest if value is not None]
        if len(first) < len(compared) or len(last) < len(latest):
            continue
        growth = max(after - before for before, after in zip(first, last))
        if name == 'resident_bytes':
            growth = max(last) - max(first)
        gauges.append(Gauge(name, max(first), max(last), growth, limit))
    return gauges


def overgrown(caches: Dict[str, CacheSize]) -> List[str]:
    """Return the names of caches with more entries than they may have."""
    return [
        name
        for name, cache in caches.items()
        if cache.limit is not None and cache.entries > cache.limit
    ]
