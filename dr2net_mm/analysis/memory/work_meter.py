"""Multiply-adds of everything that runs, forward and backward."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class WorkMeter(TorchDispatchMode):
    """Context that counts multiply-adds of matrix products and convolutions.

    What is computed twice counts twice. ``torch.utils.flop_counter.FlopCounterMode``
    has the same formulas, and hooks on modules that a recomputation disturbs.

    Attributes:
        multiply_adds: The count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0

    def __torch_dispatch__(  # noqa: D105
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            operations = formula(*args, **(kwargs or {}), out_val=result)
            self.multiply_adds += int(operations) // 2
        return result
