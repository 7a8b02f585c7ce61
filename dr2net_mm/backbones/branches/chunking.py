"""Number of tokens that a branch is evaluated on at a time."""

from typing import Optional, Union

#: Bytes of activations of one branch below which cutting it saves nothing.
SMALLEST_BUDGET = 32 * 2**20

_BYTES_PER_VALUE = 4


def tokens_per_piece(
    chunk: Union[None, int, str], tokens: int, channels: int, values_per_token: int
) -> Optional[int]:
    """Return the tokens of a piece of a branch, or None for all of them.

    ``'auto'`` takes as many as keep the activations of a piece within the size of
    the stream itself, of which a reversible stage holds four in its backward pass.

    Args:
        chunk: The option of :class:`dr2net_mm.reversible.DualResidualOptions`.
        tokens: Tokens of the stream.
        channels: Numbers of a token.
        values_per_token: Numbers that the branch holds for a token while it is
            differentiated.
    """
    if chunk is None:
        return None
    if isinstance(chunk, str):
        budget = max(SMALLEST_BUDGET, tokens * channels * _BYTES_PER_VALUE)
        chunk = max(1, budget // (values_per_token * _BYTES_PER_VALUE))
    return None if chunk >= tokens else chunk
