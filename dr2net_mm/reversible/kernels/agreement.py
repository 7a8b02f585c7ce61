"""Trial of the fused kernels on a device, against integers computed in another way."""

from typing import Iterator, Tuple

import torch
from torch import Tensor

from ..packing import packed_dtype, packed_size
from ..ratio import Ratio
from . import fused

#: Elements of the trial, more than one block and no multiple of it.
COUNT = 3 * fused.BLOCK + 37

#: One ratio for each width of a remainder.
TRIED_RATIOS = tuple(Ratio(a, 16) for a in (45875, 26214, 6554, 655, 65))


def kernels_agree(device: torch.device) -> bool:
    """Return whether the kernels of :mod:`fused` give the right bits.

    Run once for each device, before its kernels are used: their exactness rests on
    how a compiler treats floating-point operations, which no version of it promises.
    """
    return all(
        bool(torch.equal(found.cpu(), expected))
        for found, expected in _trials(device, torch.Generator().manual_seed(0))
    )


def _trials(
    device: torch.device, generator: torch.Generator
) -> Iterator[Tuple[Tensor, Tensor]]:
    """Yield pairs of what a kernel computes and what is right."""

    def floats() -> Tensor:
        return torch.randn(COUNT, generator=generator)

    x = torch.randint(-(2**31) + 1, 2**31 - 1, (COUNT,), generator=generator)
    for ratio in TRIED_RATIOS:
        stream = x.to(torch.int32).to(device)
        width = ratio.remainder_width
        size = packed_size(COUNT, width)
        packed = torch.empty(size, dtype=packed_dtype(width), device=device)
        fused.step_(stream, packed, ratio, COUNT)
        yield stream.clone(), ((x * ratio.numerator) >> ratio.bits).to(torch.int32)
        fused.inverse_step_(stream, packed, ratio, COUNT)
        yield stream, x.to(torch.int32)

    before = (x >> 4).to(torch.int32)
    for dtype in (torch.float32, torch.bfloat16):
        f, view, alpha, scale = floats().to(dtype), floats(), 0.7, 65536.0
        right = ((view * alpha + f) * scale).round()
        stream = before.to(device, copy=True)
        largest = fused.increment_(
            stream, None, f.to(device), view.to(device), alpha, scale
        )
        yield stream.clone(), before + right.to(torch.int32)
        assert largest is not None
        yield largest, (right + before).abs().max() / 2.0**31
        fused.increment_(
            stream, None, f.to(device), view.to(device), alpha, scale, subtract=True
        )
        yield stream, before

    gx, gy = floats(), floats()
    found = fused.combine_(gy.clone().to(device), gx.to(device), 0.7, 0.3)
    yield found, gy * 0.3 + gx * 0.7
