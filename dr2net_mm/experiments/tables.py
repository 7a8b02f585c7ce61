"""Tables of a task in Markdown."""

from typing import List, Optional

from dr2net_mm.cli.output import markdown_table

from .answers import difference_text, error_text
from .rows import ROWS
from .statistics import ENOUGH_SEEDS, Sample
from .summary import REFERENCE, RowSummary, Summary

_HEADER = (
    'row',
    'seeds',
    '{metric}',
    'difference to conventional',
    'gradient error, first',
    'last',
    'peak, MB',
    'time',
)


def task_tables(summary: Summary) -> str:
    """Return a table for each group of rows; rows without a run are shown as such."""
    parts = []
    for group in dict.fromkeys(row.group for row in ROWS.values()):
        names = [name for name, row in ROWS.items() if row.group == group]
        lines = [_cells(summary, name) for name in names]
        header = [cell.format(metric=summary.task.metric_name) for cell in _HEADER]
        parts.append(
            f'{_headline(group)}\n\n{markdown_table(header, lines, numbers=True)}'
        )
    return '\n\n'.join(parts)


def _headline(text: str) -> str:
    return f'### {text[0].upper()}{text[1:]}'


def _cells(summary: Summary, name: str) -> List[str]:
    if name not in summary.rows:
        return [ROWS[name].title, '0', 'not run yet', *['–'] * 5]
    one = summary.rows[name]
    seeds = str(len(one.records))
    if len(one.records) < ENOUGH_SEEDS:
        seeds += ' (more to come)'
    time = summary.relative_time(name)
    difference = None if name == REFERENCE else summary.difference(name)
    return [
        one.row.title,
        seeds,
        sample_text(one.sample) + _failures(one),
        difference_text(difference),
        error_text(one.gradient_error('first')),
        error_text(one.gradient_error('last')),
        f'{one.peak_bytes / 1e6:.1f}',
        '–' if time is None else f'{time:.2f}',
    ]


def sample_text(found: Optional[Sample]) -> str:
    """Write ``0.812 ± 0.010``; without a deviation where there is one seed."""
    if found is None:
        return '–'
    if found.deviation is None:
        return f'{found.mean:.3f}'
    return f'{found.mean:.3f} ± {found.deviation:.3f}'


def _failures(one: RowSummary) -> str:
    return f' ({len(one.failures)} diverged)' if one.failures else ''
