"""Messages of backbones about arguments that they cannot take."""

from typing import Any


def checkpointing_refusal(backbone: str) -> str:
    """Explain why a dual-residual class refuses ``with_cp=True``."""
    return (
        f'with_cp=True has no use in {backbone}: its activations are reconstructed, '
        'not checkpointed. Set with_cp=False in the backbone (and '
        "dual_residual=dict(backprop='stored') to store activations)."
    )


def check_frozen_stages(frozen: Any, count: int, parts: str) -> None:
    """Raise unless ``frozen_stages`` is within a backbone.

    Args:
        frozen: The argument.
        count: How many parts the backbone has.
        parts: What these are, ``'stages'`` or ``'blocks'``.

    Raises:
        ValueError: Naming the accepted range.
    """
    whole = isinstance(frozen, int) and not isinstance(frozen, bool)
    if not whole or not -1 <= frozen <= count:
        raise ValueError(
            f'frozen_stages is {frozen!r}; this backbone has {count} {parts}, so give '
            f'-1 (nothing is frozen), 0 (the embedding alone) to {count}.'
        )
