"""Arguments that mmaction's ``VisionTransformer`` would pass over in silence."""

import difflib
import inspect
import warnings
from typing import Any, Dict

from mmaction.models.backbones.vit_mae import VisionTransformer

from dr2net_mm.backbones.base.arguments import checkpointing_refusal


def check_arguments(arguments: Dict[str, Any]) -> None:
    """Raise for arguments that mmaction's class would pass over in silence."""
    # Swin configs often set with_cp=False; accept and ignore it.
    if arguments.pop('with_cp', False):
        raise ValueError(checkpointing_refusal('Dr2VisionTransformer'))
    known = list(inspect.signature(VisionTransformer.__init__).parameters)[1:-1]
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(
                name, [*known, 'dual_residual', 'inflate_input'], n=1
            )
            raise TypeError(
                f'Dr2VisionTransformer has no argument {name!r}; '
                + (f'did you mean {near[0]!r}?' if near else f'it has {known}.')
            )
    values = arguments.get('init_values')
    if values and not isinstance(values, float):
        warnings.warn(
            f'init_values={values!r} is no float, and mmaction makes no gamma of it; '
            'write it with a decimal point, or 0.0 for none.',
            stacklevel=3,
        )
