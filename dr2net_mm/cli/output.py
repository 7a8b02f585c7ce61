"""Tables and JSON files that tools write."""

import json
import os
from typing import Any, Dict, List, Optional, Sequence, Union

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import UserError


def check_output(path: Optional[str], flag: str) -> None:
    """Raise a UserError now if a file could not be written at the end."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise UserError(f'{flag} {path}: is a folder; give the name of a file')
    if not os.path.isdir(folder):
        raise UserError(f'{flag} {path}: there is no folder {folder}; make it first')
    if not os.access(folder, os.W_OK):
        raise UserError(f'{flag} {path}: {folder} is not writable; give another place')


def write_json(path: str, rows: Union[Dict[str, Any], List[Dict[str, Any]]]) -> None:
    """Write strict JSON, all or nothing."""
    with atomic_open(path, 'w', 'utf-8') as file:
        json.dump(rows, file, indent=2, allow_nan=False)
        file.write('\n')


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False
) -> str:
    """Format a table of Markdown.

    Args:
        header: Names of the columns.
        rows: Their cells.
        numbers: Whether all columns but the first hold numbers, and are aligned right.
    """
    rule = ['---', *['---:' if numbers else '---'] * (len(header) - 1)]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (header, rule, *rows))


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format columns of text: the first aligned left, the others right."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*lines)]
    lines.insert(1, ['-' * width for width in widths])
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )
