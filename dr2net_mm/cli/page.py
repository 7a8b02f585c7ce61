"""Commands that make a page of the documentation from files of measurements."""

import argparse
from pathlib import Path
from typing import Callable

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


def add_page_arguments(
    parser: argparse.ArgumentParser, records: str, page: str
) -> None:
    """Add ``--records`` and ``--out``.

    Args:
        parser: Of the command.
        records: Default folder of the JSON files, below the repository.
        page: Default page, below the repository.
    """
    parser.add_argument(
        '--records',
        type=Path,
        default=REPOSITORY / records,
        metavar='FOLDER',
        help=f'folder of the JSON files (default: {records} of the repository)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / page,
        metavar='FILE',
        help='the page; its plots go into a folder beside it, named after it (default: '
        f'{page} of the repository)',
    )


def write_page(
    options: argparse.Namespace, make: Callable[[Path, Path, str], str]
) -> None:
    """Write the page that the command line asks for.

    Args:
        options: With what :func:`add_page_arguments` added.
        make: Makes the page from the folder of records, the folder of its plots, and
            that folder as the page names it.

    Raises:
        UserError: If there are no records, or the page cannot be written there.
    """
    if not options.records.is_dir():
        raise UserError(f'--records {options.records}: there is no such folder')
    out = options.out
    if out.suffix != '.md' or not out.parent.is_dir():
        raise UserError(f'--out {out}: give a .md file in a folder that exists')
    plots = out.with_suffix('')
    page = make(options.records, plots, out.stem)
    with atomic_open(out, 'w', 'utf-8') as file:
        file.write(page)
    print(f'written: {out}' + (f' and the plots in {plots}' if plots.is_dir() else ''))
