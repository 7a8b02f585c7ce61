"""The model inside the wrappers that distribute it."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside every wrapper that MMEngine knows."""
    while is_model_wrapper(model):
        model = model.module
    return model
