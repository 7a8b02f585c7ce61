"""Residual branches as one module, for networks that have no config."""

from typing import Any, Dict, Iterable, Tuple

from torch import Tensor, nn

from .branch import FunctionBranch
from .coefficients import check_coefficients
from .options import DualResidualOptions
from .stage import DualResidualStage


class DualResidualSequential(nn.Module):
    """A reversible stage of residual branches F_1 … F_N that are modules.

        y_0 = β·x_0,  x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    It returns x_N, of the shape of x_0 [..., C]. (α, β) = (1, 0) is the residual
    network x_i = x_{i-1} + F_i(x_{i-1}). The backward pass recomputes activations
    instead of reading them from memory::

        blocks = DualResidualSequential([nn.Sequential(nn.LayerNorm(64), mlp), ...])
        blocks(x).sum().backward()
        blocks.set_coefficients(0.9, 0.2)

    The state dict holds the coefficients.

    Args:
        branches: Modules that map [..., C] to [..., C]. The residual connection is
            not part of them. The same input must give the same output twice, apart
            from dropout.
        options: Fields of :class:`DualResidualOptions`, such as ``alpha``, ``beta``
            and ``arithmetic``.

    Raises:
        ValueError: If there is no branch, if an option is unknown or out of range, or
            if ``memory_budget`` is given.
    """

    def __init__(self, branches: Iterable[nn.Module], **options: Any) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        if not len(self.branches):
            raise ValueError('DualResidualSequential needs at least one branch, got 0.')
        self.options = DualResidualOptions.from_dict(options)
        if self.options.memory_budget is not None:
            raise ValueError(
                'DualResidualSequential cannot plan for memory_budget='
                f'{self.options.memory_budget!r}: it does not know what its branches '
                'cost. Leave it out.'
            )
        self.alpha, self.beta = self.options.alpha, self.options.beta
        self._stage = DualResidualStage(type(self).__name__, self.options)

    def forward(self, x: Tensor) -> Tensor:
        """Return x_N for x_0.

        Raises:
            FixedPointOverflowError: If a stream is not finite or out of range.
        """
        branches = [FunctionBranch(branch) for branch in self.branches]
        outputs: Tuple[Tensor, ...] = self._stage(x, branches, self.alpha, self.beta)
        return outputs[0]

    def set_coefficients(self, alpha: float, beta: float) -> None:
        """Set α and β.

        Raises:
            ValueError: If one is outside [0, 1], or β = 0 with a float reversible
                backward pass.
        """
        alpha, beta = check_coefficients(alpha, beta)
        self.options.check_reversible(beta)
        self.alpha, self.beta = alpha, beta

    def get_extra_state(self) -> Dict[str, float]:
        """Return the coefficients, which the state dict holds."""
        return dict(alpha=self.alpha, beta=self.beta)

    def set_extra_state(self, state: Dict[str, float]) -> None:
        """Take the coefficients of a state dict."""
        self.set_coefficients(**state)
