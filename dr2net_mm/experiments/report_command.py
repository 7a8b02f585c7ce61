"""The command ``tools/experiments/report.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.cli.command import OneLineParser, run_command, tool_parser
from dr2net_mm.errors import UserError

from .queue import REPOSITORY
from .report import evidence_page


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser(
        'report.py',
        'Make tables and plots from the JSON files that run.py wrote, and '
        'docs/evidence.md from both.',
    )
    parser.add_argument(
        '--records',
        type=Path,
        default=REPOSITORY / 'evidence',
        help='folder of the JSON files (default: evidence of the repository)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'docs' / 'evidence.md',
        help='the page; its plots go into a folder beside it, named after it (default: '
        'docs/evidence.md of the repository)',
    )
    return parser


def write_report(options: argparse.Namespace) -> None:
    """Write the page and its plots."""
    if not options.records.is_dir():
        raise UserError(f'--records {options.records}: there is no such folder')
    out = options.out
    if out.suffix != '.md' or not out.parent.is_dir():
        raise UserError(f'--out {out}: give a .md file in a folder that exists')
    page = evidence_page(options.records, out.with_suffix(''), out.stem)
    with atomic_open(out, 'w', 'utf-8') as file:
        file.write(page)
    print(f'written: {out} and the plots in {out.with_suffix("")}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/experiments/report.py``."""
    run_command(build_parser(), write_report, arguments)
