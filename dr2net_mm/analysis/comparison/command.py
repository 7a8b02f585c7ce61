"""The command ``tools/analysis/comparison.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.cli.command import OneLineParser, run_command, tool_parser
from dr2net_mm.errors import UserError

from .page import comparison_page

REPOSITORY = Path(__file__).resolve().parents[3]


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
    parser.add_argument(
        '--records',
        type=Path,
        default=REPOSITORY / 'evidence' / 'comparison',
        metavar='FOLDER',
        help='folder of the JSON files (default: evidence/comparison of the checkout)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'docs' / 'comparison.md',
        metavar='FILE',
        help='the page; its plot goes into a folder beside it, named after it '
        '(default: docs/comparison.md of the checkout)',
    )
    return parser


def _command(options: argparse.Namespace) -> None:
    if not options.records.is_dir():
        raise UserError(f'--records {options.records}: there is no such folder')
    out = options.out
    if out.suffix != '.md' or not out.parent.is_dir():
        raise UserError(f'--out {out}: give a .md file in a folder that exists')
    page = comparison_page(options.records, out.with_suffix(''), out.stem)
    with atomic_open(out, 'w', 'utf-8') as file:
        file.write(page)
    print(f'written: {out}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/comparison.py`."""
    run_command(_parser(), _command, arguments)
