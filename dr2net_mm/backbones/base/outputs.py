"""Outputs of backbones, which are a tensor or several."""

from typing import Any, List

from torch import Tensor


def output_list(outputs: Any) -> List[Tensor]:
    """Return the outputs of a backbone as a list; some give a single tensor."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)
