"""The coefficients of dual-residual backbones, as checkpoints hold them."""

import re
from typing import Any, Dict, Mapping, Tuple

from dr2net_mm.errors import UserError

_KEY = re.compile(r'^(?P<backbone>.*?)\.?dual_residual\.(?P<name>alpha|beta)$')


def is_coefficient(key: str) -> bool:
    """Return whether a name in a state dict is that of a coefficient."""
    return _KEY.match(key) is not None


def coefficients_of(state_dict: Mapping[str, Any]) -> Dict[str, Tuple[float, float]]:
    """Return (alpha, beta) of each dual-residual backbone, by its name.

    Raises:
        UserError: If one of a pair is missing.
    """
    found: Dict[str, Dict[str, float]] = {}
    for key, value in state_dict.items():
        match = _KEY.match(key)
        if match:
            name = match.group('backbone') or 'backbone'
            found.setdefault(name, {})[match.group('name')] = float(value)
    for name, pair in found.items():
        for coefficient in {'alpha', 'beta'} - set(pair):
            raise UserError(
                f'the checkpoint has no {coefficient} of {name}, only the other '
                'coefficient; save it again with tools/train.py'
            )
    return {name: (pair['alpha'], pair['beta']) for name, pair in found.items()}
