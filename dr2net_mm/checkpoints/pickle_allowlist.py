"""Classes and functions that a checkpoint of MMEngine may name."""

from typing import Any, Dict


def history_buffer_method(owner: type, name: str) -> Any:
    """Replace ``getattr`` while a checkpoint is unpickled.

    A pickled ``HistoryBuffer`` refers to its statistics methods through ``getattr``.
    Allowing the real one would let a crafted file reach any attribute.
    """
    from pickle import UnpicklingError

    from mmengine.logging import HistoryBuffer

    allowed = {'min', 'max', 'current', 'mean', *HistoryBuffer._statistics_methods}
    if owner is not HistoryBuffer or name not in allowed:
        raise UnpicklingError(f'the checkpoint asks for attribute {name} of {owner}')
    return getattr(owner, name)


def mmengine_globals() -> Dict[str, Any]:
    """Return what MMEngine's checkpoints hold, by the names that pickles call it.

    ``HistoryBuffer`` is in its message hub, numpy's scalars and arrays in its history
    and its meta data. Names of numpy 1 (``numpy.core``) and of numpy 2
    (``numpy._core``) mean the same functions.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    scalars = (np.float64, np.float32, np.int64, np.int32, np.bool_)
    classes = (
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        *(type(np.dtype(scalar)) for scalar in scalars),
    )
    allowed = {f'{value.__module__}.{value.__qualname__}': value for value in classes}
    # Naming numpy.core under numpy 2 is deprecated.
    numpy_core = getattr(np, 'core' if np.__version__.startswith('1.') else '_core')
    multiarray = numpy_core.multiarray
    for core in ('core', '_core'):
        for function in (multiarray._reconstruct, multiarray.scalar):
            allowed[f'numpy.{core}.multiarray.{function.__name__}'] = function
    allowed['builtins.getattr'] = history_buffer_method
    return allowed
