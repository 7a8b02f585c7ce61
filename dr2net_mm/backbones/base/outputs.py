"""Outputs of backbones, which are a tensor or several."""

from typing import Any, List

from torch import Tensor


def output_list(outputs: Any) -> List[Tensor]:
    """Return the tensors among the outputs of a backbone, in order.

    Some give a single tensor, some a list of them, and MViT for each stage a list of
    patches and class token, of which one may be None.
    """
    if isinstance(outputs, Tensor):
        return [outputs]
    if outputs is None:
        return []
    return [tensor for output in outputs for tensor in output_list(output)]
