"""Parse the arguments of a tool and run it."""

import argparse
import sys
import warnings
from typing import Any, Callable, NoReturn, Optional, Sequence, Union

from .run_tool import run_tool


class OneLineParser(argparse.ArgumentParser):
    """A parser that answers a wrong command line with one line, not with a page."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 and one line on stderr."""
        self.exit(2, f'{self.prog}: error: {message}; see --help\n')


def tool_parser(program: str, description: str, epilog: str = '') -> OneLineParser:
    """Return the parser of a tool, with the option ``--traceback``.

    Args:
        program: Name of the tool.
        description: Text above the options in ``--help``, with its line breaks.
        epilog: Text below them, such as examples.
    """
    parser = OneLineParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--traceback', action='store_true', help='show where an error was raised'
    )
    return parser


def coefficient(text: str) -> float:
    """Parse alpha or beta, a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = float('nan')
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not a number in [0, 1]')
    return value


def positive_int(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a whole number of at least 1')
    return int(text)


def chunk_size(text: str) -> Union[str, int]:
    """Parse the option `chunk` of a dual-residual backbone."""
    if text == 'none':
        return sys.maxsize  # No stream has so many tokens.
    return text if text == 'auto' else positive_int(text)


def run_parsed(
    parser: OneLineParser,
    body: Callable[[argparse.Namespace], Any],
    arguments: Optional[Sequence[str]] = None,
    reads_config: bool = True,
) -> int:
    """Parse the command line, run ``body`` on it and return the exit code.

    Args:
        parser: Parser of :func:`tool_parser`.
        body: What the tool does.
        arguments: The command line; by default that of the process.
        reads_config: Whether errors that a wrong value in a config raises become one
            line too, as a ``UserError`` does; if not, they keep their traceback.
    """
    options = parser.parse_args(arguments)
    return run_tool(
        parser.prog,
        lambda: body(options),
        iterations=lambda: 0 if reads_config else 2,
        show_traceback=options.traceback,
    )


def run_command(
    parser: OneLineParser,
    body: Callable[[argparse.Namespace], None],
    arguments: Optional[Sequence[str]] = None,
) -> NoReturn:
    """Parse the command line, run ``body`` on it, and exit.

    Input that cannot be used is a UserError; any other error keeps its traceback.
    """
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    sys.exit(run_parsed(parser, body, arguments, reads_config=False))
