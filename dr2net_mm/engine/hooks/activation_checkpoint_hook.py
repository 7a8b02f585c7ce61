"""Checkpoints the activations of modules that are not the backbone."""

from typing import List, Sequence, Union

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from dr2net_mm.engine.model_wrappers import unwrapped
from dr2net_mm.memory.activation_checkpoint import checkpoint_modules, restore_modules


@HOOKS.register_module()
class ActivationCheckpointHook(Hook):
    """Lets named modules keep only their inputs for the backward pass.

    Their activations are computed again in it, with the same random numbers, so
    gradients do not change. It takes modules that are called with keyword arguments,
    such as the encoder layers of mmdet's DETR family, whose own ``num_cp`` needs
    fairscale. It acts during training and leaves validation, tests, checkpoints and
    averaged copies of the model as they are.

    Args:
        modules: Names of modules of the model, e.g. ``['encoder.layers']``. Of a
            ``ModuleList`` or ``Sequential``, each child is checkpointed by itself.

    Raises:
        TypeError: If ``modules`` is not a name or a sequence of names.
        ValueError: If ``modules`` is empty; before training, if the model has no
            module of a name.

    Examples:
        >>> custom_hooks = [
        >>>     dict(type='ActivationCheckpointHook', modules=['encoder.layers'])
        >>> ]
    """

    def __init__(self, modules: Union[str, Sequence[str]]) -> None:
        if isinstance(modules, str):
            modules = [modules]
        named = isinstance(modules, (list, tuple))
        if not named or not all(isinstance(name, str) for name in modules):
            raise TypeError(
                'modules of ActivationCheckpointHook must be names of modules, such '
                f"as ['encoder.layers'], got {modules!r}"
            )
        if not modules:
            raise ValueError(
                'modules of ActivationCheckpointHook is empty; give at least one '
                "name, such as 'encoder.layers', or leave the hook out"
            )
        self.modules = list(modules)
        self._checkpointed: List[nn.Module] = []

    def before_train(self, runner: Runner) -> None:
        """Checkpoint the modules of the model inside any wrapper."""
        model = unwrapped(runner.model)
        self._checkpointed = checkpoint_modules(model, self.modules)
        runner.logger.info(
            f'ActivationCheckpointHook checkpoints {len(self._checkpointed)} modules: '
            f'{", ".join(self.modules)}'
        )

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was before training."""
        restore_modules(self._checkpointed)
        self._checkpointed = []
