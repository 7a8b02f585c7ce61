"""Networks of a config with a checkpoint's weights, and a comparison of outputs."""

from collections import OrderedDict
from typing import Any, Mapping

from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import Tensor

from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.checkpoints.coefficients import is_coefficient
from dr2net_mm.errors import UserError


def filled(node: Mapping[str, Any], weights: Mapping[str, Tensor], place: str) -> Any:
    """Build a network in evaluation mode with exactly these weights.

    Args:
        node: Its config; the default scope is the current one.
        weights: All its weights; coefficients may be missing.
        place: What a message calls it.

    Raises:
        UserError: If a weight is missing, unknown or of another shape.
    """
    network = MODELS.build(ConfigDict(node))
    given = OrderedDict(
        (name, value)
        for name, value in network.state_dict().items()
        if is_coefficient(name)
    )
    given.update(weights)
    if hasattr(weights, '_metadata'):
        given._metadata = weights._metadata  # type: ignore[attr-defined]
    try:
        network.load_state_dict(given, strict=True)
    except RuntimeError as error:
        reason = ' '.join(str(error).split())[:300]
        raise UserError(
            f'{place} of the checkpoint does not fit the config ({reason}); give the '
            'config of the run'
        ) from error
    # Which mmdet's and mmaction's own classes do not return.
    network.eval()
    return network


def weights_below(
    weights: Mapping[str, Tensor], prefix: str
) -> 'OrderedDict[str, Tensor]':
    """Return the weights whose names start with a prefix, without it."""
    return OrderedDict(
        (name[len(prefix) :], value)
        for name, value in weights.items()
        if name.startswith(prefix)
    )


def largest_difference(found: Any, expected: Any) -> float:
    """Return the largest difference of outputs over the largest magnitude."""
    worst = 0.0
    for a, b in zip(output_list(found), output_list(expected)):
        scale = float(b.abs().max()) or 1.0
        difference = float((a - b).abs().max()) / scale
        # A NaN is the worst of all.
        worst = difference if not difference <= worst else worst
    return worst
