"""The feed-forward branch of a transformer block."""

from typing import List, Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .drop_path import scale_tokens
from .token_branch import TokenBranch


class FeedForwardBranch(TokenBranch):
    """``F(x) = drop_path(gamma · layers(norm(x)))``, without the identity.

    Args:
        norm: The norm in front, token by token.
        layers: Modules that are applied one after the other, token by token.
        hidden: Width of the hidden layer.
        drop_path: The block's ``DropPath`` or ``Identity``.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        gamma: Multiplier of every channel of the result (LayerScale), [C].
    """

    def __init__(
        self,
        norm: nn.Module,
        layers: Sequence[nn.Module],
        hidden: int,
        drop_path: nn.Module,
        chunk: Union[None, int, str],
        gamma: Optional[nn.Parameter] = None,
    ) -> None:
        super().__init__(drop_path, chunk)
        self.norm = norm
        self.layers = tuple(layers)
        self.hidden = hidden
        self.gamma = gamma

    def parameters(self) -> List[nn.Parameter]:
        """Return the parameters of the layers, each once."""
        found = unique_parameters((self.norm, *self.layers))
        return found if self.gamma is None else [*found, self.gamma]

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
        hidden = self.hidden
        return TokenCost(
            # The stream, its norm, the output (also before the gamma); both sides of
            # the activation.
            kept_values=(3 + (self.gamma is not None)) * channels + 2 * hidden,
            # Also the gradients of the hidden layer.
            transient_values=2 * channels + 4 * hidden,
            multiply_adds=2 * channels * hidden,
            # The input, and the result (scaled by drop path).
            single_values=2 * channels,
        )

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        out = self.norm(x)
        for layer in self.layers:
            out = layer(out)
        if self.gamma is not None:
            out = self.gamma * out
        return scale_tokens(out, drop_mask, piece)
