"""The feed-forward branch of a Swin block."""

from typing import List, Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import WHOLE, Branch, Piece, drop_path_scale
from dr2net_mm.reversible.branch import TokenCost, unique_parameters

from .chunking import tokens_per_piece
from .drop_path import drop_prob_of, scale_tokens


class FeedForwardBranch(Branch):
    """``F(x) = drop_path(ffn(norm(x)))`` of mmcv's ``FFN``, without its identity.

    Args:
        norm: The norm in front, token by token.
        ffn: mmcv's ``FFN``.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
    """

    def __init__(
        self, norm: nn.Module, ffn: nn.Module, chunk: Union[None, int, str]
    ) -> None:
        self.norm = norm
        self.ffn = ffn
        self.chunk = chunk

    def parameters(self) -> List[nn.Parameter]:
        return unique_parameters((self.norm, self.ffn))

    def cost(self, channels: int) -> TokenCost:
        """What the branch costs for each token."""
        hidden = self.ffn.feedforward_channels
        return TokenCost(
            # The stream, its norm, the output; both sides of the activation.
            kept_values=3 * channels + 2 * hidden,
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
        drop = self.ffn.dropout_layer
        scale = drop_path_scale(stream, drop_prob_of(drop), drop.training)
        if scale is None:
            return None
        return scale.repeat_interleave(stream[0].numel() // stream.shape[-1])

    def __call__(self, x: Tensor, piece: Piece, noise: Optional[Tensor]) -> Tensor:
        out = self.ffn.gamma2(self.ffn.layers(self.norm(x)))
        return scale_tokens(out, noise, piece)
