"""Bytes held by tensors over time, counted by following their storages."""

import weakref
from typing import Dict, Iterable, List, Optional, Set, Tuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

try:
    from torch.utils._pytree import tree_leaves
except ImportError:  # torch < 2.2

    def tree_leaves(  # type: ignore[misc]
        tree: object,
    ) -> list:
        """Return the leaves of a nested container."""
        from torch.utils._pytree import tree_flatten

        return tree_flatten(tree)[0]


class StorageFollower(TorchDispatchMode):
    """Notice when every untyped storage made under this mode appears and goes.

    The mode sits below autograd, so it sees the forward, the recomputations of
    the backward and the gradients alike. A storage counts once with its whole
    size, however many views share it, from the operator that returns it until
    its last owner lets go of it. One that was made earlier, such as a cached index,
    counts from its first use. What an operator allocates and frees inside its kernel
    is not seen.

    A subclass says in :meth:`_changed` what becomes of the changes.

    Args:
        resident: tensors that exist before and are never counted: parameters,
            buffers, inputs.
        device: type of the device whose storages count; others, such as the states
            of random generators on the host, do not.
    """

    def __init__(self, resident: Iterable[Tensor] = (), device: str = 'meta') -> None:
        super().__init__()
        self._device = device
        # Resident storages are kept alive so that no address is used twice.
        self._resident = {
            tensor.untyped_storage()._cdata: tensor.untyped_storage()
            for tensor in resident
        }
        # address -> (serial number, bytes, weak reference with a finalizer)
        self._live: Dict[int, Tuple[int, int, weakref.ref]] = {}
        self._serial = 0

    def _changed(self, serial: int, size: int) -> None:
        """Take note that a storage has grown by some bytes, or gone (negative)."""
        raise NotImplementedError

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: D105
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor) and leaf.device.type == self._device:
                self._follow(leaf)
        return result

    def _follow(self, tensor: Tensor) -> None:
        if tensor.layout is not torch.strided:
            raise NotImplementedError(
                f'the memory of a tensor of layout {tensor.layout} cannot be '
                'followed; accepted: torch.strided'
            )
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._resident:
            return
        size = storage.nbytes()
        known = self._live.get(address)
        if known is None:
            self._serial += 1
            serial = self._serial

            def forget(_: weakref.ref) -> None:
                last_size = self._live.pop(address)[1]
                self._changed(serial, -last_size)

            self._live[address] = (serial, size, weakref.ref(storage, forget))
            self._changed(serial, size)
        elif known[1] != size:  # resized in place, as `out=` arguments are
            self._live[address] = (known[0], size, known[2])
            self._changed(known[0], size - known[1])


class StorageMeter(StorageFollower):
    """Record of the storages that a :class:`StorageFollower` notices.

    The record is a list of signed sizes in order of time. Sums over it are taken
    afterwards, when it is known which storages became parameter gradients.
    """

    def __init__(self, resident: Iterable[Tensor] = (), device: str = 'meta') -> None:
        super().__init__(resident, device)
        self._events: List[Tuple[int, int]] = []
        self._gradients: Set[int] = set()

    def _changed(self, serial: int, size: int) -> None:
        self._events.append((serial, size))

    def mark_gradient(self, tensor: Tensor) -> None:
        """Declare that the storage of `tensor` holds a parameter's gradient."""
        known = self._live.get(tensor.untyped_storage()._cdata)
        if known is not None:
            self._gradients.add(known[0])

    @property
    def now(self) -> int:
        """Position in the record, to be given to :meth:`live_bytes`."""
        return len(self._events)

    def live_bytes(self, position: Optional[int] = None) -> int:
        """Return the bytes live at `position`, without parameter gradients."""
        return sum(
            size
            for serial, size in self._events[:position]
            if serial not in self._gradients
        )

    def peak_bytes(self, gradients: bool = False) -> int:
        """Return the largest number of bytes live at once.

        Args:
            gradients: count the storages that hold parameter gradients too, each
                from the moment it appears.
        """
        live = peak = 0
        for serial, size in self._events:
            if gradients or serial not in self._gradients:
                live += size
                peak = max(peak, live)
        return peak


class LiveBytes(StorageFollower):
    """Bytes of the storages that a :class:`StorageFollower` notices, without a record.

    For runs too long to be recorded.

    Attributes:
        now: bytes that are live.
        peak: most bytes live at once since :meth:`restart_peak`.
    """

    def __init__(self, resident: Iterable[Tensor] = (), device: str = 'cpu') -> None:
        super().__init__(resident, device)
        self.now = self.peak = 0

    def _changed(self, serial: int, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)

    def restart_peak(self) -> None:
        """Let the peak be what is live now."""
        self.peak = self.now
