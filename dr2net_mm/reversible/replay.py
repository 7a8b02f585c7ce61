"""Run a piece of a forward pass again under the conditions of the first time."""

import contextlib
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from torch import Tensor


class RngState:
    """State of the random generators of the CPU and of one device.

    Generators are never reseeded: a replay runs inside ``fork_rng`` and leaves the
    surrounding state as it was.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cpu = torch.get_rng_state()
        self.cuda: Optional[Tensor] = None
        if device.type == 'cuda':
            self.cuda = torch.cuda.get_rng_state(device)

    def unchanged(self) -> bool:
        """Return whether nothing has drawn random numbers since the capture."""
        same = torch.equal(self.cpu, torch.get_rng_state())
        if self.cuda is not None:
            same = same and torch.equal(
                self.cuda, torch.cuda.get_rng_state(self.device)
            )
        return same

    @contextlib.contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw random numbers again from this state within the context."""
        devices = [self.device] if self.cuda is not None else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda, self.device)
            yield

    def nbytes(self) -> int:
        """Return the bytes that the captured states take."""
        return self.cpu.nbytes + (0 if self.cuda is None else self.cuda.nbytes)


@contextlib.contextmanager
def replayed(state: Optional[RngState]) -> Iterator[None]:
    """Replay a captured state, or do nothing without one."""
    if state is None:
        yield
    else:
        with state.replayed():
            yield


def autocast_of(device_type: str) -> Tuple[bool, torch.dtype]:
    """Return whether autocast is on for a device type, and its dtype.

    torch 2.4 gave these queries a device argument; earlier ones have one function
    for CUDA and one for the CPU.
    """
    if hasattr(torch, 'get_autocast_dtype'):
        return (
            torch.is_autocast_enabled(device_type),
            torch.get_autocast_dtype(device_type),
        )
    if device_type == 'cpu':
        return torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
    return torch.is_autocast_enabled(), torch.get_autocast_gpu_dtype()


class AutocastState:
    """Autocast settings of the CPU and, where there is one, of the device.

    The cache of cast weights is off in a replay: a cached cast belongs to the graph
    of the first piece that used it, which is gone when the second one runs.
    """

    def __init__(self, device: torch.device) -> None:
        kinds: List[str] = ['cpu'] + (['cuda'] if device.type == 'cuda' else [])
        self.settings = [(kind, *autocast_of(kind)) for kind in kinds]

    def enabled(self) -> bool:
        """Return whether autocast is on for any of the devices."""
        return any(enabled for _, enabled, _ in self.settings)

    @contextlib.contextmanager
    def replayed(self) -> Iterator[None]:
        """Apply the captured settings within the context."""
        with contextlib.ExitStack() as stack:
            for kind, enabled, dtype in self.settings:
                stack.enter_context(
                    torch.autocast(
                        kind, dtype=dtype, enabled=enabled, cache_enabled=False
                    )
                )
            yield


@contextlib.contextmanager
def hooks_silenced(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Silence hooks of tensors (``Tensor.register_hook``) within the context.

    A gradient that is found within a backward pass, and perhaps is one of several
    parts, is returned from there: the hooks are called when the whole arrives.
    """
    silenced: List[Tuple[Dict[int, Any], Dict[int, Any]]] = []
    for tensor in tensors:
        hooks = tensor._backward_hooks
        if hooks:
            silenced.append((hooks, dict(hooks)))
            hooks.clear()
    try:
        yield
    finally:
        for hooks, kept in silenced:
            hooks.update(kept)
