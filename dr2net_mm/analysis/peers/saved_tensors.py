"""What becomes of the tensors that autograd saves for the backward pass."""

import contextlib
import weakref
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

#: Tensors of fewer elements are kept as they are.
SMALLEST = 1024


class PackedTensors:
    """Base of saved-tensor hooks that replace activations by something smaller.

    Parameters, buffers, the input and small tensors stay as they are. What is saved
    twice while it lives, such as the output of a softmax, is packed once.

    Attributes:
        moved_bytes: Bytes moved to the host and back; counted by a subclass.
    """

    def __init__(self) -> None:
        self.moved_bytes = 0
        self._resident: Set[int] = set()
        # storage -> the storage itself, and what its tensors were packed into
        self._known: Dict[int, Tuple[weakref.ref, Dict[Any, weakref.ref]]] = {}

    def pack(self, tensor: Tensor) -> Any:
        """Return what is kept in place of a tensor: an object of a class."""
        raise NotImplementedError

    def unpack(self, packed: Any) -> Tensor:
        """Return the tensor, or what is left of it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def of(self, model: nn.Module, *inputs: Tensor) -> Iterator[None]:
        """Pack what the graph of a model saves in this context."""
        resident: List[Tensor] = [*model.parameters(), *model.buffers(), *inputs]
        self._resident = {tensor.untyped_storage()._cdata for tensor in resident}
        self._known.clear()
        with saved_tensors_hooks(self._pack, self._unpack):
            yield

    def takes(self, tensor: Tensor) -> bool:
        """Return whether a tensor is packed at all."""
        storage = tensor.untyped_storage()
        spread = tensor.numel() * tensor.element_size() > storage.nbytes()
        return (
            tensor.numel() >= SMALLEST
            and storage._cdata not in self._resident
            and not spread  # an expanded one is small already
        )

    def _pack(self, tensor: Tensor) -> Any:
        if not self.takes(tensor):
            return tensor
        packed = self._packed_before(tensor)
        if packed is None:
            packed = self.pack(tensor.detach())
            key = self._key(tensor)
            self._tensors_of(tensor)[key] = weakref.ref(packed)
        return packed

    def _unpack(self, packed: Any) -> Tensor:
        return packed if isinstance(packed, Tensor) else self.unpack(packed)

    @staticmethod
    def _key(tensor: Tensor) -> Any:
        place = (tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        return (*place, tensor._version)

    def _packed_before(self, tensor: Tensor) -> Optional[Any]:
        found = self._tensors_of(tensor).get(self._key(tensor))
        return found() if found else None

    def _tensors_of(self, tensor: Tensor) -> Dict[Any, weakref.ref]:
        """Return what is known of a tensor's storage, as long as that lives."""
        storage = tensor.untyped_storage()
        known = self._known.get(storage._cdata)
        if known is None or known[0]() is not storage:
            known = self._known[storage._cdata] = (weakref.ref(storage), {})
        return known[1]


class _OnHost:
    """A tensor's copy on the host; of one without values, its layout alone."""

    def __init__(self, tensor: Tensor) -> None:
        self.device, self.dtype = tensor.device, tensor.dtype
        self.nbytes = tensor.nbytes
        # Dense tensors keep the order of their axes, others become contiguous.
        self.shape, self.stride = tensor.shape, _dense_stride(tensor)
        self.copy: Optional[Tensor] = None
        if not tensor.is_meta:
            host = tensor.device.type == 'cpu'
            self.copy = tensor.clone() if host else tensor.cpu()

    def on_device(self) -> Tensor:
        """Copy the tensor back."""
        if self.copy is None:
            return torch.empty_strided(
                self.shape, self.stride, dtype=self.dtype, device=self.device
            )
        if self.device.type == 'cpu':
            return self.copy.clone()
        return self.copy.to(self.device)


def _dense_stride(tensor: Tensor) -> Tuple[int, ...]:
    """Return the strides of a copy, without making one."""
    given = list(tensor.stride())
    by_stride = sorted(range(len(given)), key=lambda axis: (-given[axis], axis))
    strides, step = [0] * tensor.dim(), 1
    for axis in reversed(by_stride):
        strides[axis] = step
        step *= max(tensor.shape[axis], 1)
    return tuple(strides)


class OffloadedTensors(PackedTensors):
    """Activations that wait on the host, as ``torch.autograd.graph.save_on_cpu`` does.

    On the CPU the host's memory is the same, and moving is copying.
    """

    def pack(self, tensor: Tensor) -> Any:
        """Copy a tensor to the host."""
        self.moved_bytes += tensor.nbytes
        return _OnHost(tensor)

    def unpack(self, packed: Any) -> Tensor:
        """Copy a tensor back."""
        self.moved_bytes += packed.nbytes
        return packed.on_device()
