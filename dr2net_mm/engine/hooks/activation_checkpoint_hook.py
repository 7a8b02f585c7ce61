"""Memory of modules that are not the backbone: checkpoints, and pieces of them."""

from typing import Any, Dict, List, Sequence, Union

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from dr2net_mm.engine.model_wrappers import unwrapped
from dr2net_mm.memory.activation_checkpoint import checkpoint_modules, restore_modules
from dr2net_mm.memory.in_pieces import chosen_parts, restore_parts, run_in_pieces
from dr2net_mm.memory.parts import Part, preset_names, preset_parts


@HOOKS.register_module()
class ActivationCheckpointHook(Hook):
    """Hook that lets modules keep only their inputs for the backward pass.

    Their activations are computed again in it, with the same random numbers, so
    gradients do not change. Of ``modules`` that is done as a whole. ``pieces`` and the
    parts of a ``preset`` are evaluated piece by piece, along the samples and the tokens
    of a batch, in both passes: what a piece needs is all that is held at a time. Sums
    over pieces, those of the weights' gradients, come out in another order.

    It acts during training and leaves validation, tests, checkpoints and averaged
    copies of the model as they are.

    Args:
        modules: Names of modules of the model, e.g. ``['encoder.layers']``. Of a
            ``ModuleList`` or ``Sequential``, each child is checkpointed by itself.
        pieces: Names of modules that are known, see :mod:`dr2net_mm.memory.parts`, or
            treat each token by itself, such as ``['encoder.layers.0.ffn']``. For others
            say which arguments begin with the samples:
            ``dict(module='neck', samples=['inputs'])``.
        preset: ``'auto'`` for every part that is known in the model, or names of
            :data:`dr2net_mm.memory.parts.PRESETS`, e.g. ``['encoder', 'decoder']``.
        piece_tokens: Tokens of a piece, where a part is cut along tokens. ``'auto'``
            keeps what a piece needs within the size of the input.

    Raises:
        TypeError: If ``modules`` or ``pieces`` are not names.
        ValueError: If nothing is named, or ``piece_tokens`` is no number of tokens;
            before training, if the model has no module of a name, or one cannot be cut.

    Examples:
        >>> custom_hooks = [dict(type='ActivationCheckpointHook', preset='auto')]
    """

    def __init__(
        self,
        modules: Union[str, Sequence[str]] = (),
        pieces: Union[str, Dict[str, Any], Sequence[Union[str, Dict[str, Any]]]] = (),
        preset: Union[str, Sequence[str], None] = None,
        piece_tokens: Union[int, str] = 'auto',
    ) -> None:
        self.modules = _names(modules, 'modules')
        self.pieces = _names(pieces, 'pieces')
        self.preset = None if preset is None else preset_names(preset)
        self.piece_tokens = piece_tokens
        if not (self.modules or self.pieces or self.preset):
            raise ValueError(
                'modules of ActivationCheckpointHook is empty, and so are pieces and '
                "preset; give preset='auto', or a name such as 'encoder.layers', or "
                'leave the hook out'
            )
        number = isinstance(piece_tokens, int) and not isinstance(piece_tokens, bool)
        if piece_tokens != 'auto' and not (number and int(piece_tokens) > 0):
            raise ValueError(
                f'piece_tokens of ActivationCheckpointHook is {piece_tokens!r}; '
                "accepted: a number of tokens of at least 1, such as 8192, or 'auto'"
            )
        self._checkpointed: List[nn.Module] = []
        self._parts: List[Part] = []

    def before_train(self, runner: Runner) -> None:
        """Change the modules of the model inside any wrapper."""
        model = unwrapped(runner.model)
        parts = self.parts(model)
        run_in_pieces(parts)
        self._parts = parts
        self._checkpointed = checkpoint_modules(model, self.modules)
        if self.modules:
            runner.logger.info(
                f'ActivationCheckpointHook checkpoints {len(self._checkpointed)} '
                f'modules: {", ".join(self.modules)}'
            )
        if self.pieces or self.preset:
            runner.logger.info(
                f'ActivationCheckpointHook runs {len(parts)} parts in pieces: '
                f'{", ".join(part.label for part in parts)}'
            )

    def parts(self, model: nn.Module) -> List[Part]:
        """Return the parts of a model that are to run in pieces."""
        named = chosen_parts(model, self.pieces)
        taken = {id(part.module) for part in named}
        if self.preset:
            found = preset_parts(model, self.preset)
            named += [part for part in found if id(part.module) not in taken]
        return [
            part._replace(size=self.piece_tokens)
            if part.cut.along_tokens and part.size == 'auto'
            else part
            for part in named
        ]

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was before training."""
        restore_modules(self._checkpointed)
        restore_parts(self._parts)
        self._checkpointed, self._parts = [], []


def _names(given: Any, argument: str) -> List[Any]:
    """Return names, one or several, as a list."""
    values = [given] if isinstance(given, (str, dict)) else given
    kinds = (str, dict) if argument == 'pieces' else str
    several = isinstance(values, (list, tuple))
    if not several or not all(isinstance(name, kinds) for name in values):
        raise TypeError(
            f'{argument} of ActivationCheckpointHook must be names of modules, such '
            f"as ['encoder.layers'], got {given!r}"
        )
    for value in values:
        if isinstance(value, dict) and not isinstance(value.get('module'), str):
            raise TypeError(
                'a dictionary in pieces of ActivationCheckpointHook needs the name of '
                "a module, such as dict(module='neck', samples=['inputs']), got "
                f'{value!r}'
            )
    return list(values)
