"""The command ``tools/analysis/comparison.py``."""

import argparse
from typing import Optional, Sequence

from dr2net_mm.cli.command import OneLineParser, run_command, tool_parser
from dr2net_mm.cli.page import add_page_arguments, write_page

from .page import comparison_page


def _parser() -> OneLineParser:
    parser = tool_parser(
        'comparison.py',
        'Make docs/comparison.md and its plot from the JSON files that\n'
        'memory.py --peers, benchmark.py --peers and engines.py wrote.',
        'The files are called memory_NAME.json (one or more), benchmark.json and\n'
        'engines.json; the page ends with the commands that wrote them.\n\n'
        'Examples:\n'
        '  python tools/analysis/memory.py --backbone swin-t --peers \\\n'
        '      --json evidence/comparison/memory_swin-t.json\n'
        '  python tools/analysis/comparison.py',
    )
    add_page_arguments(parser, 'evidence/comparison', 'docs/comparison.md')
    return parser


def _command(options: argparse.Namespace) -> None:
    write_page(options, comparison_page)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/comparison.py`."""
    run_command(_parser(), _command, arguments)
