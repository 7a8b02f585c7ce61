"""The feed-forward branch of a transformer block."""

from typing import List, Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import WHOLE, Branch, Piece, drop_path_scale
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .chunking import tokens_per_piece
from .drop_path import drop_prob_of, scale_tokens


class FeedForwardBranch(Branch):
    """``F(x) = drop_path(gain · layers(norm(x)))``, without the identity.

    Args:
        norm: The norm in front, token by token.
        layers: Modules that are applied one after the other, token by token.
        hidden: Width of the hidden layer.
        drop_path: The block's ``DropPath`` or ``Identity``.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        gain: Multiplier of every channel of the result (LayerScale), [C].
    """

    def __init__(
        self,
        norm: nn.Module,
        layers: Sequence[nn.Module],
        hidden: int,
        drop_path: nn.Module,
        chunk: Union[None, int, str],
        gain: Optional[nn.Parameter] = None,
    ) -> None:
        self.norm = norm
        self.layers = tuple(layers)
        self.hidden = hidden
        self.drop_path = drop_path
        self.chunk = chunk
        self.gain = gain

    def parameters(self) -> List[nn.Parameter]:
        found = unique_parameters((self.norm, *self.layers))
        return found if self.gain is None else [*found, self.gain]

    def cost(self, channels: int) -> TokenCost:
        """What the branch costs for each token."""
        hidden = self.hidden
        return TokenCost(
            # The stream, its norm, the output (also before the gain); both sides of
            # the activation.
            kept_values=(3 + (self.gain is not None)) * channels + 2 * hidden,
            # Also the gradients of the hidden layer.
            transient_values=2 * channels + 4 * hidden,
            multiply_adds=2 * channels * hidden,
            # The input, and the result (scaled by drop path).
            single_values=2 * channels,
        )

    def piece_tokens(self, tokens: int, channels: int) -> Optional[int]:
        """Most tokens of a piece, None for all."""
        values = self.cost(channels).transient_values
        return tokens_per_piece(self.chunk, tokens, channels, values)

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Runs of tokens."""
        channels = stream.shape[-1]
        size = self.piece_tokens(stream.numel() // channels, channels)
        if size is None:
            return WHOLE
        tokens = stream.numel() // stream.shape[-1]
        return [Piece(slice(i, min(i + size, tokens))) for i in range(0, tokens, size)]

    def noise(self, stream: Tensor) -> Optional[Tensor]:
        probability = drop_prob_of(self.drop_path)
        scale = drop_path_scale(stream, probability, self.drop_path.training)
        if scale is None:
            return None
        return scale.repeat_interleave(stream[0].numel() // stream.shape[-1])

    def __call__(self, x: Tensor, piece: Piece, noise: Optional[Tensor]) -> Tensor:
        out = self.norm(x)
        for layer in self.layers:
            out = layer(out)
        if self.gain is not None:
            out = self.gain * out
        return scale_tokens(out, noise, piece)
