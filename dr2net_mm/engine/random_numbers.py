"""Random numbers that follow from where a run is, not from how it came there.

A generator seeded once at the start of a run is in a state that only the whole run
could reproduce. Generators seeded again for every iteration and for every sample, from
the run's seed and the position, need nothing to be stored: a run that is resumed draws
what the uninterrupted one would have drawn, whatever the number of dataset workers.
"""

import random
from types import TracebackType
from typing import Optional, Sequence, Type

import numpy as np
import torch
from mmengine.device import get_device


def seed_random_numbers(key: Sequence[int], devices: bool = True) -> None:
    """Seed the generators of Python, NumPy and torch from a sequence of numbers.

    Args:
        key: Numbers of at least 0. Keys that differ anywhere give unrelated numbers.
        devices: Also seed the generators of torch's devices, not only the CPU's.
    """
    words = np.random.SeedSequence(key).generate_state(8)
    random.seed(int.from_bytes(words[:4].tobytes(), 'little'))
    np.random.seed(words[4:6])
    seed = int(words[6]) << 32 | int(words[7])
    torch.default_generator.manual_seed(seed)
    # Asking torch for every device takes longer than all of the above.
    if devices and get_device() == 'cuda':
        torch.cuda.manual_seed_all(seed)
    elif devices and get_device() != 'cpu':
        torch.manual_seed(seed)


class PrivateRandomNumbers:
    """Context with CPU generators of its own, which go on where it was left.

    Args:
        key: What the generators are seeded with, see :func:`seed_random_numbers`.
    """

    def __init__(self, key: Sequence[int]) -> None:
        outer = self._states()
        seed_random_numbers(key, devices=False)
        self._kept = self._states()
        self._set(outer)

    def __enter__(self) -> None:
        self._kept, own = self._states(), self._kept
        self._set(own)

    def __exit__(
        self,
        error_type: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._kept, outer = self._states(), self._kept
        self._set(outer)

    @staticmethod
    def _states() -> tuple:
        return random.getstate(), np.random.get_state(), torch.get_rng_state()

    @staticmethod
    def _set(states: tuple) -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
