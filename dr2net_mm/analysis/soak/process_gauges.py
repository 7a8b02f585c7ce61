"""Resources of a process besides tensors: files, threads, children, objects, caches."""

import gc
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Dict, NamedTuple, Optional

from torch import nn
from torch.multiprocessing.reductions import shared_cache

from dr2net_mm.backbones.base.dual_residual import MAX_PLANS, dual_residual_backbones

_PROC = Path('/proc/self')


class CacheSize(NamedTuple):
    """Entries of a cache, and the most that it may have (None: no limit)."""

    entries: int
    limit: Optional[int]


def resident_bytes() -> Optional[int]:
    """Return the resident memory of this process; None where it is not known."""
    try:
        pages = int((_PROC / 'statm').read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf('SC_PAGE_SIZE')


def open_files() -> Optional[int]:
    """Open file descriptors; None where the system does not say."""
    try:
        # One of them is that of the listing.
        return len(os.listdir(str(_PROC / 'fd'))) - 1
    except OSError:
        return None


def thread_count() -> int:
    """Count the threads of this process; only Python's where others are hidden."""
    try:
        lines = (_PROC / 'status').read_text().splitlines()
    except OSError:
        return threading.active_count()
    return next(int(line.split()[1]) for line in lines if line.startswith('Threads:'))


def child_count() -> int:
    """Count child processes, also ended ones that nobody has waited for.

    Where the system does not say, those of ``multiprocessing``.
    """
    if not _PROC.exists():
        return len(multiprocessing.active_children())
    return sum(
        _parent(folder) == os.getpid() for folder in Path('/proc').glob('[0-9]*')
    )


def _parent(folder: Path) -> Optional[int]:
    try:
        # The name, in brackets, may hold anything; state and parent follow it.
        return int((folder / 'stat').read_text().rsplit(')', 1)[1].split()[1])
    except OSError:  # It has ended meanwhile.
        return None


def wait_for_loaders() -> None:
    """Wait until the resources of finished data-loader workers are released."""
    for thread in threading.enumerate():
        # It closes its files when it has seen that it is to end.
        if thread.name == 'QueueFeederThread':
            thread.join(timeout=10)
    # torch remembers up to 128 tensors that are gone.
    shared_cache.free_dead_references()


def reachable_objects() -> int:
    """Count the Python containers in use, except those ``gc.freeze`` set aside."""
    gc.collect()
    return len(gc.get_objects())


def cache_sizes(model: nn.Module) -> Dict[str, CacheSize]:
    """Measure this package's caches: of functions, and a model's storage plans."""
    sizes = {}
    for module_name, module in sorted(sys.modules.items()):
        if not module_name.startswith('dr2net_mm.'):
            continue
        for name, function in vars(module).items():
            belongs = getattr(function, '__module__', None) == module_name
            if belongs and hasattr(function, 'cache_info'):
                info = function.cache_info()
                sizes[f'{module_name}.{name}'] = CacheSize(info.currsize, info.maxsize)
    for name, backbone in dual_residual_backbones(model).items():
        plans = len(backbone._storage_plans)
        sizes[f'storage plans of {name}'] = CacheSize(plans, MAX_PLANS)
    return sizes
