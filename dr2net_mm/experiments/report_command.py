"""The command ``tools/experiments/report.py``."""

import argparse
from typing import Optional, Sequence

from dr2net_mm.cli.command import OneLineParser, run_command, tool_parser
from dr2net_mm.cli.page import add_page_arguments, write_page

from .report import evidence_page


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser(
        'report.py',
        'Make tables and plots from the JSON files that run.py wrote, and '
        'docs/evidence.md from both.',
    )
    add_page_arguments(parser, 'evidence', 'docs/evidence.md')
    return parser


def write_report(options: argparse.Namespace) -> None:
    """Write the page and its plots."""
    write_page(options, evidence_page)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/experiments/report.py``."""
    run_command(build_parser(), write_report, arguments)
