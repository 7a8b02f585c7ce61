"""Tables of the comparison in Markdown."""

from typing import Any, Dict, List

from dr2net_mm.analysis.engines.command import engine_columns
from dr2net_mm.analysis.memory.peer_memory import error_text, gigabytes
from dr2net_mm.cli.output import markdown_table

from .records import counted_rows, row_of


def memory_table(record: Dict[str, Any]) -> str:
    """Format a record of ``memory.py --peers``."""
    header = ['', 'trains', 'peak [GB]', 'moved [GB]', 'work', 'trained [M]']
    header += ['gradients and AdamW [GB]', 'everything [GB]', 'gradient error']
    first = row_of(record, 'conventional')
    lines: List[List[str]] = []
    for row in counted_rows(record):
        state = row['gradient_bytes'] + row['optimizer_bytes']
        lines.append(
            [
                _name(row),
                row['trains'],
                gigabytes(row['peak_bytes']),
                gigabytes(row['moved_bytes']) if row['moved_bytes'] else '',
                f'{row["multiply_adds"] / first["multiply_adds"]:.2f}',
                f'{row["trained_parameters"] / 1e6:.1f}',
                gigabytes(state),
                gigabytes(row['all_bytes']),
                error_text(row),
            ]
        )
    return markdown_table(header, lines) + _left_out(record)


def time_table(record: Dict[str, Any]) -> str:
    """Format the record of ``benchmark.py --peers``."""
    header = ['', 'trains', 'step [ms]', 'quartiles', 'to conventional', 'to with_cp']
    header += ['peak [GB]']
    lines = []
    for row in counted_rows(record):
        seconds = row['seconds']
        low, median, high = (
            f'{1000 * seconds[name]:.0f}'
            for name in ('lower_quartile', 'median', 'upper_quartile')
        )
        ratios = (row['time_to_conventional'], row['time_to_checkpoint'])
        lines.append(
            [
                _name(row),
                row['trains'],
                median,
                f'{low}–{high}',
                *(f'{ratio:.2f}' for ratio in ratios),
                gigabytes(row['peak_bytes']),
            ]
        )
    return markdown_table(header, lines) + _left_out(record)


def engine_table(record: Dict[str, Any]) -> str:
    """Format the record of ``engines.py``."""
    columns = engine_columns()
    lines = [
        [_engine(row), *(show(row.get(key, {})) for key, _, show in columns)]
        for row in record['rows']
        if 'reason' not in row
    ]
    failures = [
        f'- {row["name"]}, {title}: `{row[key]["error"]}`'
        for row in record['rows']
        for key, title, _ in columns
        if 'error' in row.get(key, {})
    ]
    left_out = [
        f'- {row["name"]} did not run: {row["reason"]}'
        for row in record['rows']
        if 'reason' in row
    ]
    table = markdown_table(['', *(title for _, title, _ in columns)], lines)
    return '\n\n'.join(filter(None, [table, '\n'.join([*failures, *left_out])]))


def _engine(row: Dict[str, Any]) -> str:
    name = f'**{row["name"]}**' if row['name'].startswith('dr2 exact') else row['name']
    return f'{name} ({row["version"]})' if 'version' in row else name


def _name(row: Dict[str, Any]) -> str:
    return f'**{row["mode"]}**' if row['mode'].startswith('dr2 exact') else row['mode']


def _left_out(record: Dict[str, Any]) -> str:
    reasons = [
        f'- {row["mode"]}: {row["reason"]}' for row in record['rows'] if 'reason' in row
    ]
    return '\n\n' + '\n'.join(reasons) if reasons else ''
