"""Explanations of exceptions whose own text says nothing."""

import linecache
import re
import traceback
from typing import Optional

# Text of an exception -> what it comes from, as far as one can tell, and what helps.
_KNOWN = (
    (
        r'need at least one array to concatenate',
        'the data set has no sample: its annotation file lists none, filter_cfg drops '
        'all, or none has a class of metainfo; look at ann_file, filter_cfg and '
        'metainfo of the dataset',
    ),
    (
        r'num_samples should be a positive integer value.*',
        'the data set has no sample; look at ann_file, filter_cfg and metainfo of the '
        'dataset',
    ),
    (
        r'(list|tuple|string|deque|range object) index out of range',
        'a list of the config has fewer entries than another asks for; compare lists '
        'that go together, such as depths, num_heads, strides, out_indices and the '
        'in_channels of the neck',
    ),
    (
        r"'NoneType' object .*",
        'a value that is needed is None or missing in the config',
    ),
)


def explain(error: BaseException, message: str) -> Optional[str]:
    """Explain an exception whose text says nothing; return None for others.

    It names what is wrong, as far as that is known, and the class, the function and
    the line of the frameworks in which it came up.

    Args:
        error: What was raised.
        message: Its text in one line.
    """
    bare = message == type(error).__name__
    reason = next(
        (meaning for text, meaning in _KNOWN if re.fullmatch(text, message)), None
    )
    if isinstance(error, KeyError) and re.fullmatch(r'[\w.\-]+', message):
        reason = (
            f'the key {message!r} is missing in the config, in the annotation file or '
            'in a sample'
        )
    elif isinstance(error, NotImplementedError) and bare:
        reason = 'this class does not provide what the config asks it for'
    elif isinstance(error, AssertionError) and bare:
        reason = 'a condition does not hold'
    elif bare:
        reason = 'it failed without a reason'
    if reason is None:
        return None
    text = '' if bare else f'{type(error).__name__}: {message}, '
    return f'{reason} ({text}raised {place(error)})'


def place(error: BaseException) -> str:
    """Name the class, function, file and line where an exception was raised."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return 'at an unknown place'
    frame, number = frames[-1]
    code = frame.f_code
    owner = frame.f_locals.get('self')
    name = code.co_name if owner is None else f'{type(owner).__name__}.{code.co_name}'
    file = re.sub(r'^.*?(site-packages|dist-packages)/', '', code.co_filename)
    line = linecache.getline(code.co_filename, number).strip()
    return f'in {name}, {file}:{number}: {line!r}' if line else f'in {name}, {file}'
