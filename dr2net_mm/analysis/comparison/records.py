"""The measurements that the page is made from."""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from dr2net_mm.errors import DataFileError

OURS = 'dr2 exact'


class Records(NamedTuple):
    """Measurements of ``evidence/comparison``.

    Attributes:
        memory: Those of ``memory.py --peers``, smallest network first.
        time: That of ``benchmark.py --peers``, None where it is missing.
        engines: That of ``engines.py``, None where it is missing.
    """

    memory: List[Dict[str, Any]]
    time: Optional[Dict[str, Any]]
    engines: Optional[Dict[str, Any]]


def read_records(folder: Path) -> Records:
    """Read the files ``memory_*.json``, ``benchmark.json`` and ``engines.json``.

    Raises:
        DataFileError: If there is none of memory, or a file is not what a tool writes.
    """
    memory = [_read(file) for file in sorted(folder.glob('memory_*.json'))]
    if not memory:
        raise DataFileError(
            f'{folder} holds no memory_*.json; write one with '
            'tools/analysis/memory.py --backbone swin-t --peers --json'
        )
    memory.sort(key=lambda record: row_of(record, 'conventional')['peak_bytes'])
    single = [
        _read(folder / name) if (folder / name).exists() else None
        for name in ('benchmark.json', 'engines.json')
    ]
    return Records(memory, *single)


def counted_rows(record: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Return the rows that were measured, without those that say why not."""
    return [row for row in record['rows'] if 'reason' not in row]


def row_of(record: Dict[str, Any], mode: str) -> Dict[str, Any]:
    """Return the row of a name.

    Raises:
        DataFileError: If there is none.
    """
    for row in counted_rows(record):
        if row['mode'] == mode:
            return row
    raise DataFileError(
        f'the record of {record["name"]} has no row {mode!r}; write it again'
    )


def _read(file: Path) -> Dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
        if not isinstance(found['rows'], list):
            raise TypeError('rows is no list')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataFileError(
            f'{file} is no record of a comparison ({type(error).__name__}: {error}); '
            'write it again'
        ) from error
    return found
