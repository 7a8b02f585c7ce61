"""Whether mmcv's CUDA kernels can be used for a tensor."""

import functools
from typing import Any, Optional

import torch
from torch import Tensor


def cuda_kernels(positions: Tensor) -> Optional[Any]:
    """Return mmcv's operators for positions on CUDA in float32; else None."""
    if not positions.is_cuda or positions.dtype != torch.float32:
        return None
    return _compiled_operators()


@functools.lru_cache(maxsize=1)
def _compiled_operators() -> Optional[Any]:
    try:
        from mmcv import ops
    except ImportError:
        return None
    # A build of mmcv without CUDA imports well and raises when it is called.
    from mmcv.ops import get_compiling_cuda_version

    compiled = get_compiling_cuda_version() not in ('not available', '')
    return ops if compiled else None
