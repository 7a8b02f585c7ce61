"""Stochastic depth of a branch that is evaluated in pieces."""

from typing import Optional

from torch import Tensor, nn

from dr2net_mm.reversible import Piece


def drop_prob_of(layer: nn.Module) -> float:
    """Return the probability of a drop-path layer; 0 of an identity.

    Raises:
        TypeError: If the layer is of another kind.
    """
    if isinstance(layer, nn.Identity):
        return 0.0
    if type(layer).__name__ == 'DropPath':
        return float(layer.drop_prob)
    raise TypeError(
        'the drop path of a residual branch must be DropPath or Identity, got '
        f'{type(layer).__name__}.'
    )


def scale_tokens(values: Tensor, scale: Optional[Tensor], piece: Piece) -> Tensor:
    """Multiply the tokens of a piece by their factors.

    Args:
        values: Output of a branch on the piece, [..., C].
        scale: A factor for every token of the stream, [T], or None for 1.
        piece: Which tokens of the stream these are.
    """
    if scale is None:
        return values
    if piece.index is None:
        return values * scale.view(*values.shape[:-1], 1)
    return values * scale[piece.index].unsqueeze(-1)
