"""The attention branch of a block whose positions stay in the residual stream."""

from typing import Optional, Sequence, Union

from torch import Tensor, nn

from dr2net_mm.reversible import Piece
from dr2net_mm.reversible.branch import TokenCost

from .attention import AttentionBranch


class PositionedAttentionBranch(AttentionBranch):
    """``F̃(x) = F(x + e) + α·e`` with ``F(x) = drop_path(gamma · attention(norm(x)))``.

    The step ``F̃(x) + α·x + y`` is then ``F(x + e) + α·(x + e) + y``, that of a block
    which gets ``x + e`` and whose residual connection keeps e. The positions e are an
    input of the branch and get their gradient.

    Args:
        norm: The norm in front, token by token.
        attention: timm's or mmaction's attention.
        drop_path: The block's ``DropPath`` or ``Identity``.
        tokens: Tokens N of a sample.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
        positions: e, of the shape of the stream, [B, N, C].
        alpha: α of the stage.
        gamma: Multiplier of every channel of the result (LayerScale), [C].
    """

    def __init__(
        self,
        norm: nn.Module,
        attention: nn.Module,
        drop_path: nn.Module,
        tokens: int,
        chunk: Union[None, int, str],
        positions: Tensor,
        alpha: float,
        gamma: Optional[nn.Parameter] = None,
    ) -> None:
        super().__init__(norm, attention, drop_path, tokens, chunk, gamma)
        self.positions = positions
        self.alpha = alpha

    def inputs(self) -> Sequence[Tensor]:
        """Return the further tensors that F depends on."""
        return (self.positions,)

    def with_inputs(self, inputs: Sequence[Tensor]) -> 'PositionedAttentionBranch':
        """Return the same branch of other tensors."""
        (positions,) = inputs
        return PositionedAttentionBranch(
            self.norm,
            self.attention,
            self.drop_path,
            self.group,
            self.chunk,
            positions,
            self.alpha,
            self.gamma,
        )

    def cost(self, channels: int) -> TokenCost:
        """Estimate what a token keeps, holds and computes."""
        # The sum x + e is kept, and two gradients of e are held.
        cost = super().cost(channels)
        return cost._replace(
            kept_values=cost.kept_values + channels,
            transient_values=cost.transient_values + 3 * channels,
        )

    def __call__(self, x: Tensor, piece: Piece, drop_mask: Optional[Tensor]) -> Tensor:
        """Evaluate F on a piece of tokens [T, C], drop path included."""
        e = piece.read(self.positions)
        return self._positioned(super().__call__(x + e, piece, drop_mask), e)

    def export(self, x: Tensor) -> Tensor:
        """Evaluate F on a whole stream in operations that can be exported."""
        return self._positioned(super().export(x + self.positions), self.positions)

    def _positioned(self, f: Tensor, e: Tensor) -> Tensor:
        return f if self.alpha == 0 else f + self.alpha * e
