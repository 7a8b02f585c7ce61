"""Base of branches that work token by token, or group by group."""

from typing import Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import WHOLE, Branch, Piece, drop_path_scale

from .chunking import tokens_per_piece
from .drop_path import drop_prob_of


class TokenBranch(Branch):
    """A branch of tokens [B, ..., C] with drop path, cut into runs of whole groups.

    Args:
        drop_path: The block's ``DropPath`` or ``Identity``.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        group: Consecutive tokens that belong together: 1 where each token is treated
            by itself, those of a sample where they see each other.
    """

    def __init__(
        self, drop_path: nn.Module, chunk: Union[None, int, str], group: int = 1
    ) -> None:
        self.drop_path = drop_path
        self.chunk = chunk
        self.group = group

    def piece_tokens(self, tokens: int, channels: int) -> Optional[int]:
        """Return the most tokens of a piece, from the option ``chunk``."""
        values = self.cost(channels).transient_values
        size = tokens_per_piece(self.chunk, tokens, channels, values)
        if size is None:
            return None
        size = max(1, size // self.group) * self.group
        return size if size < tokens else None

    def pieces(self, stream: Tensor) -> Sequence[Piece]:
        """Split the stream into runs of tokens."""
        channels = stream.shape[-1]
        tokens = stream.numel() // channels
        size = self.piece_tokens(tokens, channels)
        if size is None:
            return WHOLE
        return [Piece(slice(i, min(i + size, tokens))) for i in range(0, tokens, size)]

    def drop_mask(self, stream: Tensor) -> Optional[Tensor]:
        """Return the factor of each token: 0 where its sample is dropped."""
        probability = drop_prob_of(self.drop_path)
        scale = drop_path_scale(stream, probability, self.drop_path.training)
        if scale is None:
            return None
        return scale.repeat_interleave(stream[0].numel() // stream.shape[-1])
