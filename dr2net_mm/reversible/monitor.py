"""Watching the range of the streams without holding up the device."""

import math
from typing import Any, Dict, Optional

import torch
from torch import Tensor

from .errors import FixedPointOverflowError


class StreamMonitor:
    """Largest magnitude that the streams of a stage reached in a forward pass.

    On the CPU a value out of range is reported at the end of the forward pass. On
    CUDA the value is copied to the host behind the kernels, and looked at when it is
    there: by :meth:`check` (the coefficient hook calls it after every iteration and
    before every checkpoint) or at the latest in the next forward pass.

    Args:
        name: Name of the stage, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._running: Optional[Tensor] = None
        self._host: Optional[Tensor] = None
        self._arrived: Any = None

    def __getstate__(self) -> Dict[str, Any]:
        return {'name': self.name}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        type(self).__init__(self, state['name'])

    def begin(self) -> None:
        """Start a forward pass, discarding state left by a failed one."""
        self._running = None

    def note(self, largest: Optional[Tensor]) -> None:
        """Take account of a magnitude, as a share of the limit, on the device."""
        if largest is None or largest.device.type == 'meta':
            return
        if self._running is not None:
            largest = torch.maximum(self._running, largest)
        self._running = largest

    def finish(self) -> None:
        """End a forward pass."""
        self.check()
        running, self._running = self._running, None
        if running is None:
            return
        if running.device.type == 'cuda':
            self._host = torch.empty((), dtype=running.dtype, pin_memory=True)
            self._host.copy_(running.detach(), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(running.device))
        else:
            self._host = running.detach()
            self.check()

    def check(self) -> None:
        """Raise if the last forward pass left the range.

        Raises:
            FixedPointOverflowError: Naming the stage, the value and the remedy.
        """
        if self._host is None:
            return
        if self._arrived is not None:
            self._arrived.synchronize()
        largest = float(self._host)
        self._host = self._arrived = None
        if largest < 1.0:
            return
        if not math.isfinite(largest):
            raise FixedPointOverflowError(
                f'{self.name}: the input or a residual branch is not finite. Look at '
                'the data and the loss of the iterations before: a learning rate too '
                'high, a corrupt image, or fp16 autocast out of its range (bf16 has '
                'a wider one).'
            )
        raise FixedPointOverflowError(
            f'{self.name}: a stream reached {largest:.3g} times the largest value '
            'that its fixed-point numbers hold. Lower '
            "dual_residual['fraction_bits'] (each bit less doubles the range of "
            "±2**(31 - fraction_bits)), or use arithmetic='float'; values that grow "
            'from iteration to iteration mean that training diverges.'
        )
