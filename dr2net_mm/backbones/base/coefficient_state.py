"""The current alpha and beta of a backbone, as part of its state dict."""

from typing import Any, Dict, List

import torch
from torch import Tensor, nn

from dr2net_mm.reversible import check_coefficients


class DualResidualState(nn.Module):
    """The current coefficients, as Python numbers that travel in the state dict.

    They are neither parameters nor buffers: reading them never waits for a device,
    DDP does not broadcast them and an averaged model does not average them. In a
    state dict they are float64 tensors without dimensions, ``alpha`` and ``beta``; one
    that lacks them, such as a pretrained checkpoint, leaves them as they are.
    """

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = check_coefficients(alpha, beta)

    def _save_to_state_dict(
        self, destination: Dict[str, Tensor], prefix: str, keep_vars: bool
    ) -> None:
        for name in ('alpha', 'beta'):
            value = torch.tensor(getattr(self, name), dtype=torch.float64)
            destination[prefix + name] = value

    def _load_from_state_dict(
        self,
        state_dict: Dict[str, Any],
        prefix: str,
        local_metadata: Dict[str, Any],
        strict: bool,
        missing_keys: List[str],
        unexpected_keys: List[str],
        error_msgs: List[str],
    ) -> None:
        names = {key[len(prefix) :] for key in state_dict if key.startswith(prefix)}
        unexpected_keys.extend(
            prefix + name for name in sorted(names - {'alpha', 'beta'})
        )
        current = {'alpha': self.alpha, 'beta': self.beta}
        for name in sorted(names & {'alpha', 'beta'}):
            value = state_dict[prefix + name]
            if isinstance(value, Tensor) and value.numel() != 1:
                raise ValueError(
                    f'the checkpoint holds {prefix}{name} of shape '
                    f'{tuple(value.shape)}; a single number in [0, 1] is needed.'
                )
            current[name] = float(value)
        # Not left to error_msgs: MMEngine turns those into a warning, and the model
        # would go on with coefficients that its weights do not fit.
        try:
            self.alpha, self.beta = check_coefficients(**current)
        except ValueError as error:
            raise ValueError(f"the checkpoint's {prefix[:-1]}: {error}") from None

    def extra_repr(self) -> str:
        """Show the values in the text of the module."""
        return f'alpha={self.alpha}, beta={self.beta}'
