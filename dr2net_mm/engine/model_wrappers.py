"""The model inside its wrappers, and the averaged copies of it."""

from typing import Iterator

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside every wrapper that MMEngine knows.

    Wrappers distribute a model, or average its predictions over augmented images.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def averaged_models(runner: Runner) -> Iterator[nn.Module]:
    """Yield the model copies of EMAHook and of hooks that follow its convention."""
    for hook in runner.hooks:
        averaged = getattr(hook, 'ema_model', None)
        if isinstance(averaged, nn.Module):
            yield averaged
