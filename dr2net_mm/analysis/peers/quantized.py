"""Activations that autograd saves in 2, 4 or 8 bits a value."""

from typing import Any, List

import torch
from torch import Tensor

from .saved_tensors import PackedTensors

#: Values that share a smallest value and a step.
GROUP = 256
#: Values that are quantized at a time, so that temporaries stay small.
PIECE = 1 << 20


class _Quantized:
    """A tensor in few bits: codes, and smallest value and step of each group."""

    def __init__(self, tensor: Tensor, codes: Tensor, lowest: Tensor, step: Tensor):
        self.shape, self.dtype = tensor.shape, tensor.dtype
        self.codes, self.lowest, self.step = codes, lowest, step


class QuantizedTensors(PackedTensors):
    """Saved-tensor hooks that quantize floating-point activations.

    Values of a group become round((x - lowest) / step), rounded up or down at random
    so that the mean is right. The forward pass is not changed: only the gradients are.
    Source of the method: ActNN (Chen et al., ICML 2021), without its choice of bits
    layer by layer.

    Args:
        bits: 2, 4 or 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        if bits not in (2, 4, 8):
            raise ValueError(f'bits is {bits}; accepted: 2, 4, 8')
        self.bits = bits
        self._generator = torch.Generator().manual_seed(0)

    def takes(self, tensor: Tensor) -> bool:
        """Return whether a tensor is packed: masks and indices are not."""
        return tensor.is_floating_point() and super().takes(tensor)

    def pack(self, tensor: Tensor) -> Any:
        """Quantize a tensor piece by piece."""
        flat = tensor.reshape(-1)
        parts = [self._encode(piece) for piece in flat.split(PIECE)]
        codes, lowest, step = (torch.cat(part) for part in zip(*parts))
        return _Quantized(tensor, codes, lowest, step)

    def unpack(self, packed: Any) -> Tensor:
        """Return the quantized values as a contiguous tensor of the old type."""
        count = packed.shape.numel()
        values = packed.codes.new_empty(count, dtype=packed.dtype)
        groups, bytes_of_group = PIECE // GROUP, GROUP * self.bits // 8
        for start in range(0, len(packed.step), groups):
            part = slice(start, start + groups)
            codes = packed.codes[start * bytes_of_group :][: groups * bytes_of_group]
            piece = self._decode(codes, packed.lowest[part], packed.step[part])
            place = values[start * GROUP : start * GROUP + piece.numel()]
            place.copy_(piece[: place.numel()])
        return values.view(packed.shape)

    def _encode(self, values: Tensor) -> Any:
        missing = -values.numel() % GROUP
        if missing:
            values = torch.cat([values, values[-1:].expand(missing)])
        groups = values.float().reshape(-1, GROUP)
        lowest, highest = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        levels = 2**self.bits - 1
        step = ((highest - lowest) / levels).clamp_(min=torch.finfo(torch.float32).tiny)
        scaled = (groups - lowest).div_(step).add_(self._noise(groups)).floor_()
        codes = scaled.clamp_(0, levels).to(torch.uint8).view(-1)
        return self._joined(codes), lowest.view(-1), step.view(-1)

    def _decode(self, codes: Tensor, lowest: Tensor, step: Tensor) -> Tensor:
        groups = self._separate(codes).view(-1, GROUP).float()
        return groups.mul_(step[:, None]).add_(lowest[:, None]).view(-1)

    def _noise(self, like: Tensor) -> Tensor:
        """Draw numbers of [0, 1) apart from those of dropout and drop path."""
        if like.is_meta:
            return torch.empty_like(like)
        if like.device != self._generator.device:
            self._generator = torch.Generator(like.device).manual_seed(0)
        return torch.rand(like.shape, generator=self._generator, device=like.device)

    def _joined(self, codes: Tensor) -> Tensor:
        """Put several codes into a byte."""
        columns = self._columns(codes.view(-1, 8 // self.bits))
        joined = columns[0].clone()
        for place, column in enumerate(columns[1:], start=1):
            joined |= column << (place * self.bits)
        return joined

    def _separate(self, joined: Tensor) -> Tensor:
        per_byte = 8 // self.bits
        mask = 2**self.bits - 1
        parts = [(joined >> (place * self.bits)) & mask for place in range(per_byte)]
        return torch.stack(parts, dim=1).view(-1)

    @staticmethod
    def _columns(table: Tensor) -> List[Tensor]:
        return list(table.unbind(1))
