"""Bad input as one line on stderr, with what is wrong and what to do about it."""

import errno
import json
import os
import pickle
import re
import sys
import traceback
from typing import Callable, Optional

from dr2net_mm.errors import DataFileError, StoppedBySignal, UserError
from dr2net_mm.rank import launcher_rank

from .bare_errors import explain
from .requested_class import requested_class

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
TRACEBACK_VARIABLE = 'DR2NET_TRACEBACK'

# No space left, quota exceeded (not on every system), file larger than allowed.
_FULL_DISK = (errno.ENOSPC, getattr(errno, 'EDQUOT', errno.ENOSPC), errno.EFBIG)

# What a wrong value in a config raises while the runner is being built.
_CONFIG_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _accepted_arguments(cls: Optional[type], message: str) -> str:
    """Suggest the nearest accepted argument for an unexpected one, or list all."""
    import difflib
    import inspect

    from dr2net_mm.lazy_classes import registered_class

    unexpected = re.search(r'unexpected keyword argument \'(\w+)\'', message)
    if cls is None or unexpected is None:
        return ''
    names = [
        name
        for parent in inspect.getmro(registered_class(cls))[:-1]
        for name in inspect.signature(parent.__init__).parameters  # type: ignore[misc]
        if name not in ('self', 'args', 'kwargs')
    ]
    near = difflib.get_close_matches(unexpected.group(1), names, n=1)
    if near:
        return f'; did you mean {near[0]!r}?'
    return f'; it accepts {", ".join(dict.fromkeys(names))}'


def _message(error: BaseException) -> str:
    """Return an error's text in one line, without a worker's traceback."""
    # str(KeyError('x')) is the repr of its argument.
    args = error.args
    text = str(args[0]) if isinstance(error, KeyError) and args else str(error)
    if text.startswith('Caught ') and 'Original Traceback' in text:
        last = text.strip().splitlines()[-1]
        text = re.sub(r'^[\w.]+(Error|Exception): ', '', last)
    # MMEngine before 0.10 prefixes each class that it was building.
    text = re.sub(r'(class `\w+` in \S+\.py: )+', '', text)
    return ' '.join(text.split()) or type(error).__name__


def describe(error: BaseException, started: bool = False) -> Optional[str]:
    """Describe an error that the user can mend in one line; None for others.

    Args:
        error: what was raised.
        started: whether a first iteration was over. Until then the config, the files
            that it names and the environment are what can be wrong; afterwards only
            errors that speak of themselves are shortened.
    """
    from dr2net_mm.reversible.errors import ReversibleError

    message = _message(error)
    if isinstance(error, (UserError, ReversibleError)):
        return message
    if isinstance(error, OSError) and error.errno is not None:
        place = f' {error.filename!r}' if error.filename else ''
        line = f'{error.strerror or message}:{place or " " + message}'
        if error.errno in _FULL_DISK:
            line += '; make room there, then go on with --resume'
        return line
    if isinstance(error, pickle.UnpicklingError):
        refused = re.search(r'GLOBAL (\S+)', message)
        return (
            'the checkpoint holds objects that torch does not load unasked '
            f'({refused.group(1) if refused else message}); if you trust the file, set '
            'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1'
        )
    if isinstance(error, RuntimeError) and message.startswith('DataLoader worker'):
        return (
            f'{message.rstrip(".")}: a process that loads data has died. If memory ran '
            'out, lower num_workers of the dataloader; if a file crashes its decoder, '
            'num_workers=0 shows where. Go on with --resume'
        )
    if started or not isinstance(error, _CONFIG_ERRORS):
        return None
    name, cls = requested_class(error)
    if isinstance(error, json.JSONDecodeError):
        return f'not a JSON file: {message}{f" (read by {name})" if name else ""}'
    missing = re.match(r'(\S+) is not in the (\S+) registry', message)
    if missing:
        return _unknown_type(missing.group(1), missing.group(2))
    explained = explain(error, message)
    if explained is not None:
        return f'{name}: {explained}' if name else explained
    message = re.sub(r'^\w+\.__init__\(\)|^__init__\(\)', 'it', message)
    hint = _accepted_arguments(cls, message)
    if name:
        return f'{name} cannot be built from the config: {message}{hint}'
    return f'{type(error).__name__}: {message}'


def _unknown_type(name: str, registry: str) -> str:
    """Describe a ``type=`` that no registry knows."""
    from dr2net_mm.optional_imports import import_failures

    reasons = [
        f'{package} cannot be imported ({reason})'
        for package, reason in import_failures().items()
    ]
    because = f': {"; ".join(reasons)}' if reasons else ''
    return (
        f"type='{name}' is not in the registry {registry}{because}; check the "
        'spelling, default_scope, and custom_imports of the config'
    )


def run_tool(
    program: str,
    main: Callable[[], None],
    iterations: Callable[[], int] = lambda: 0,
    show_traceback: bool = False,
) -> int:
    """Run ``main`` and return the exit code: 0, 2 for bad input, 130 for Ctrl-C.

    A run that saved its state and stopped for another signal gives 128 and its number.
    Errors that :func:`describe` knows become one line on stderr, others propagate.
    In a distributed run the line comes from rank 0, or from the rank concerned when
    only that rank can have met the error.

    Args:
        program: Name of the tool, for its messages.
        main: What the tool does.
        iterations: Number of iterations that have begun.
        show_traceback: Whether to print the stack besides the line.
    """
    try:
        main()
    except KeyboardInterrupt:
        print(f'{program}: interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED
    except StoppedBySignal as stop:
        if launcher_rank() == 0:
            print(f'{program}: {stop}', file=sys.stderr, flush=True)
        return stop.exit_code
    except Exception as error:
        begun = iterations()
        # What does not fit together in a config may show in the first iteration only.
        line = describe(error, started=begun > 1)
        if line is None:
            raise
        if show_traceback or os.environ.get(TRACEBACK_VARIABLE, '0') not in ('', '0'):
            traceback.print_exc()
        rank = launcher_rank()
        if rank == 0 or begun > 0 or isinstance(error, DataFileError):
            where = f' (rank {rank})' if rank else ''
            hint = ''
            if not isinstance(error, UserError):
                hint = ' [--traceback shows where]'
            print(f'{program}: error{where}: {line}{hint}', file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    return 0
