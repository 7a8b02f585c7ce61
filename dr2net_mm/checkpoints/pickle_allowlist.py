"""Classes and functions that a checkpoint of MMEngine may name."""

from typing import Any


def history_buffer_method(owner: type, name: str) -> Any:
    """Stand-in for ``getattr`` while a checkpoint is unpickled.

    A pickled ``HistoryBuffer`` refers to its statistics methods through ``getattr``.
    Allowing the real one would let a crafted file reach any attribute.
    """
    from pickle import UnpicklingError

    from mmengine.logging import HistoryBuffer

    allowed = {'min', 'max', 'current', 'mean', *HistoryBuffer._statistics_methods}
    if owner is not HistoryBuffer or name not in allowed:
        raise UnpicklingError(f'the checkpoint asks for attribute {name} of {owner}')
    return getattr(owner, name)
