"""Parse the arguments of a tool and run it."""

import argparse
import sys
import warnings
from typing import Callable, NoReturn, Optional, Sequence, Union

from .run_tool import run_tool


class OneLineParser(argparse.ArgumentParser):
    """A parser that answers a wrong command line with one line, not with a page."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one line on stderr."""
        self.exit(2, f'{self.prog}: error: {message}; see --help\n')


def coefficient(text: str) -> float:
    """Type of an argument that holds alpha or beta."""
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not a number in [0, 1]')
    return value


def positive_int(text: str) -> int:
    """Type of an argument that counts something."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number of at least 1')
    return int(text)


def chunk_size(text: str) -> Union[str, int]:
    """Type of an argument for `chunk` of a dual-residual backbone."""
    if text == 'none':
        return sys.maxsize  # No stream has so many tokens.
    return text if text == 'auto' else positive_int(text)


def run_command(
    parser: OneLineParser,
    body: Callable[[argparse.Namespace], None],
    arguments: Optional[Sequence[str]] = None,
) -> NoReturn:
    """Parse the command line, run `body` on it, and exit.

    Input that cannot be used is a UserError; any other error keeps its traceback.
    """
    options = parser.parse_args(arguments)
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    status = run_tool(
        parser.prog,
        lambda: body(options),
        iterations=lambda: 2,
        show_traceback=options.traceback,
    )
    sys.exit(status)
