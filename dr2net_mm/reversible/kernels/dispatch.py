"""Check that the fused kernels can be used on a device and for given tensors.

The environment variable ``DR2NET_FUSED=0`` turns them off. Under Triton's interpreter
(``TRITON_INTERPRET=1``) they take CPU tensors too, for tests.
"""

import os
import warnings
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def available(stream: Tensor, *others: Tensor) -> bool:
    """Return whether the operations of :mod:`fused` can take these tensors.

    Args:
        stream: A stream or a gradient of one, to be changed or read.
        *others: What is to be combined with it.
    """
    return (
        stream.dtype in (torch.int32, torch.float32)
        and stream.is_contiguous()
        and all(t.dtype in _FLOATS and t.device == stream.device for t in others)
        and _works_on(stream.device)
    )


@lru_cache(maxsize=None)
def _works_on(device: torch.device) -> bool:
    """Return whether kernels are wanted, and run, on a device."""
    if os.environ.get('DR2NET_FUSED', '1') == '0' or find_spec('triton') is None:
        return False
    if device.type != 'cuda':
        return device.type == 'cpu' and os.environ.get('TRITON_INTERPRET') == '1'
    try:
        # Triton has no bfloat16 for earlier NVIDIA GPUs.
        nvidia = torch.version.hip is None
        if nvidia and torch.cuda.get_device_capability(device) < (8, 0):
            return False
        # Loads Triton, which only a device that can run its kernels needs.
        from .agreement import kernels_agree

        if not kernels_agree(device):
            raise RuntimeError('the kernels give other bits than torch does')
    except Exception as error:  # Triton's and the compiler's errors have no base class
        warnings.warn(
            f'Triton kernels cannot be used on {device} ({type(error).__name__}: '
            f'{error}): dual-residual streams fall back to plain torch operations, '
            'which give the same results and take more time. DR2NET_FUSED=0 chooses '
            'them without this warning.',
            stacklevel=2,
        )
        return False
    return True
