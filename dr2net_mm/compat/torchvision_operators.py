"""Operators of a torchvision whose compiled library cannot be loaded."""

import sys
from typing import List

import torch

from ..optional_imports import module_folder

# The definitions live as long as the Library object.
_fragments: List[torch.library.Library] = []


def define_missing_torchvision_operators() -> bool:
    """Let torchvision (and timm) be imported when its compiled operators cannot load.

    With a CPU torch beside a CUDA build of torchvision, ``import torchvision`` fails
    with "operator torchvision::nms does not exist", because it registers shape
    functions for operators that its library would have defined. Declaring them is
    enough for everything that does not call them.
    """
    folder = module_folder('torchvision')
    declared = hasattr(torch.ops.torchvision, 'nms')
    if folder is None or declared or 'torchvision' in sys.modules:
        return False
    try:
        for library in folder.glob('_C*.so'):
            torch.ops.load_library(str(library))
    except OSError:
        fragment = torch.library.Library('torchvision', 'FRAGMENT')
        fragment.define('nms(Tensor dets, Tensor scores, float threshold) -> Tensor')
        fragment.define('qnms(Tensor dets, Tensor scores, float threshold) -> Tensor')
        _fragments.append(fragment)
        return True
    return False
