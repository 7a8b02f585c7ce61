"""What is kept of a run: a small JSON file, from which tables and plots are made."""

import json
import platform
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import torch
from mmengine.config import Config

from dr2net_mm.cli.output import write_json
from dr2net_mm.errors import DataFileError
from dr2net_mm.version import __version__

#: Points of a curve in a record.
CURVE_POINTS = 40

_KEYS = (
    'task',
    'row',
    'seed',
    'config',
    'versions',
    'metrics',
    'failure',
    'curve',
    'gradient_error',
    'memory',
    'cpu_seconds',
    'machine',
)


def record_file(folder: Path, task: str, row: str, seed: int) -> Path:
    """Return where the record of a run is."""
    return folder / task / f'{row}-seed{seed}.json'


def curve(log: List[Dict[str, Any]], points: int = CURVE_POINTS) -> Dict[str, Any]:
    """Return the training loss over the iterations, means of equal parts of the run.

    Args:
        log: Logged scalars, a line an iteration.
        points: Into how many parts the run is cut.

    Returns:
        ``iteration``, the last one of each part, and ``loss``.
    """
    steps = [line for line in log if 'loss' in line]
    points = min(points, len(steps))
    bounds = (
        [round(i * len(steps) / points) for i in range(points + 1)] if points else []
    )
    parts = [steps[first:last] for first, last in zip(bounds, bounds[1:])]
    return dict(
        iteration=[part[-1]['step'] for part in parts],
        loss=[round(sum(s['loss'] for s in part) / len(part), 4) for part in parts],
    )


def gradient_errors(log: List[Dict[str, Any]]) -> Optional[Dict[str, float]]:
    """Return the relative errors of the reversible gradients, first and last measured.

    Returns:
        ``first`` and ``last``; None of a network that is not reversible.
    """
    found = [line['dr2/gradient_error'] for line in log if 'dr2/gradient_error' in line]
    if not found:
        return None
    return dict(first=_finite(found[0]), last=_finite(found[-1]))


def _finite(value: float) -> Any:
    """Return the value, or text where JSON has no number for it."""
    return value if abs(value) < float('inf') else str(value)


def versions() -> Dict[str, str]:
    """Return the versions of what computes."""
    import mmengine
    import timm

    return dict(
        dr2net_mm=__version__,
        mmengine=mmengine.__version__,
        timm=timm.__version__,
        torch=torch.__version__,
        python=platform.python_version(),
    )


def machine() -> str:
    """Return the name of the processor."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(':')[1].strip() for line in lines if 'model name' in line]
    return names[0] if names else platform.machine()


def recorded_config(config: Config, parts: Any) -> Dict[str, Any]:
    """Return parts of a config, as plain values, and the size of its batches."""
    content = {key: config.get(key) for key in parts}
    content['batch_size'] = config.train_dataloader.batch_size
    content['image_size'] = config.get('image_size')
    return json.loads(json.dumps(Config(content).to_dict()))


def write_record(path: Path, record: Dict[str, Any]) -> None:
    """Write a record, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(str(path), record)


def read_record(path: Path) -> Dict[str, Any]:
    """Read a record.

    Raises:
        DataFileError: If the file is damaged or lacks something.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataFileError(
            f'{path} is not the record of a run ({error}): delete it and run again'
        ) from None
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise DataFileError(
            f'{path} lacks {", ".join(missing)}: delete it and run again'
        )
    return content


def read_records(folder: Path, task: str) -> Iterator[Dict[str, Any]]:
    """Yield the records of a task."""
    for path in sorted((folder / task).glob('*.json')):
        yield read_record(path)
