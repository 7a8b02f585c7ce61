"""One step in a process of its own, with a time limit, its output in a log."""

import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import torch

from dr2net_mm.analysis.benchmark.cases import hardware
from dr2net_mm.reversible.kernels import dispatch

from .checks import ROOT, quiet
from .steps import make_steps

#: Seconds between two looks at a running step.
POLL = 0.1

#: Seconds that a step has to end after SIGTERM.
GRACE = 10

DISTRIBUTIONS = (
    'triton', 'numpy', 'mmengine', 'onedl-mmengine', 'mmcv', 'onedl-mmcv', 'mmdet',
    'onedl-mmdetection', 'mmaction2', 'timm',
)  # fmt: skip


def machine(device: str) -> Dict[str, Any]:
    """Describe what the numbers depend on: GPU, driver, versions, commit."""
    found = dict(hardware(device), system=platform.platform(), packages={})
    for name in DISTRIBUTIONS:
        try:
            found['packages'][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found['commit'] = _output('git', '-C', str(ROOT), 'rev-parse', 'HEAD')
    found['fused_kernels'] = dispatch.available(torch.zeros(1, device=device))
    if device == 'cuda':
        capability = torch.cuda.get_device_capability()
        found.update(
            driver=_output(
                'nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader'
            ),
            capability='.'.join(map(str, capability)),
            memory_bytes=torch.cuda.get_device_properties(0).total_memory,
        )
    return found


def _output(*command: str) -> Optional[str]:
    """Return the first line that a command prints; None where it cannot be run."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode().strip().split('\n')[0] or None


def _child(name: str, tiny: bool, device: str, result: str, log: str) -> None:
    """Run a step; write what it found, or the error that ended it."""
    # A group of its own, so that what the step starts can be ended with it.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    quiet()
    found: Dict[str, Any] = dict(machine=None)
    try:
        step = next(step for step in make_steps(tiny) if step.name == name)
        found['machine'] = machine(device)
        found['results'], passed = step.function(step.settings, device)
        found['status'] = 'passed' if passed else 'failed'
    except Exception as error:
        traceback.print_exc()
        text = ' '.join(str(error).split())[:500]
        found.update(status='failed', error=f'{type(error).__name__}: {text}')
    Path(result).write_text(json.dumps(found), encoding='utf-8')


def run_step(
    name: str,
    tiny: bool,
    device: str,
    log: Path,
    limit: float,
    stopped: Callable[[], bool] = lambda: False,
) -> Dict[str, Any]:
    """Run a step in a process of its own.

    Args:
        name: Of the step.
        tiny: Whether its miniature.
        device: 'cpu' or 'cuda'.
        log: File that its output is appended to.
        limit: Seconds after which it is ended.
        stopped: Asked again and again; true ends the step.

    Returns:
        `status` ('passed', 'failed' or 'stopped'), `machine`, `seconds`, and `results`
        or `error`.
    """
    # CUDA does not survive a fork; without it a fork saves the imports.
    start_method = 'spawn' if device == 'cuda' else 'fork'
    context: Any = multiprocessing.get_context(start_method)
    result = log.with_suffix('.part')
    if result.exists():
        result.unlink()
    process = context.Process(
        target=_child, args=(name, tiny, device, str(result), str(log))
    )
    started = time.monotonic()
    process.start()
    while process.is_alive() and not stopped():
        if time.monotonic() - started > limit:
            break
        process.join(POLL)
    seconds = round(time.monotonic() - started, 1)
    alive = process.is_alive()
    if alive:
        _end(process)
    found: Dict[str, Any] = dict(status='failed', machine=None)
    if stopped() and alive:
        found.update(status='stopped', error='stopped by a signal')
    elif alive:
        found.update(error=f'not done after {limit:g} s, the limit')
    elif not result.exists():
        found.update(error=f'its process died with exit code {process.exitcode}')
    else:
        found = json.loads(result.read_text(encoding='utf-8'))
    if result.exists():
        result.unlink()
    return dict(found, seconds=seconds)


def _end(process: Any) -> None:
    """End a process and all that it has started."""
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            # It has not made its group yet, or all of it is gone.
            process.kill()
        process.join(patience)
