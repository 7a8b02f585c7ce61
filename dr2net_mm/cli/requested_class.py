"""The class that a config asked for when an exception was raised.

From 0.10 on MMEngine lets the exception of a constructor pass unchanged, so its text
does not name the class. Only the local variables of ``build_from_cfg`` do. This module
is the one place that reads them.
"""

from types import TracebackType
from typing import Iterator, Optional, Tuple

#: MMEngine's function, and its variables for the type of the config and the class.
BUILDER = 'build_from_cfg'
TYPE_VARIABLE, CLASS_VARIABLE = 'obj_type', 'obj_cls'


def requested_class(error: BaseException) -> Tuple[Optional[str], Optional[type]]:
    """Return name and class of the innermost object that a config was asking for.

    Returns:
        The name as the config has it and the class, each None where it is unknown:
        both if nothing was being built, the class if no registry knows the name.
    """
    name, cls = None, None
    for variables in _builder_frames(error):
        requested = variables.get(TYPE_VARIABLE)
        if requested is not None:
            name = getattr(requested, '__name__', str(requested))
            cls = variables.get(CLASS_VARIABLE)
    return name, cls


def _builder_frames(error: BaseException) -> Iterator[dict]:
    """Yield the local variables of the registry's frames, outermost first."""
    trace: Optional[TracebackType] = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == BUILDER:
            yield trace.tb_frame.f_locals
        trace = trace.tb_next
