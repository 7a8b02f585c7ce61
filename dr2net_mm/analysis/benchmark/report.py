"""Results of a benchmark as rows and as a table, and its progress."""

import statistics
from typing import Any, Dict, List, Optional, Sequence

from dr2net_mm.cli.output import format_table

from .cases import Case

#: Rows that others are compared with, in the same precision.
REFERENCES = ('conventional', 'checkpoint')


def summarize(
    cases: Sequence[Case],
    seconds: Sequence[Sequence[float]],
    memory: Sequence[Optional[int]],
    batch: int,
) -> List[Dict[str, Any]]:
    """Summarize the results, one row a case.

    A ratio of times is the median over rounds of the ratio within a round, which
    a slow change of the machine's speed leaves alone.

    Args:
        cases: What was compared.
        seconds: For each case, its steps in order; none where memory ran out.
        memory: For each case, bytes; None where not known.
        batch: Images of a step.

    Returns:
        Dictionaries with mode, precision, batch, images_per_second, seconds (median,
        quartiles, extremes), memory_bytes, and for each of :data:`REFERENCES`
        time_to_… and memory_to_…
    """
    rows = []
    for case, times, size in zip(cases, seconds, memory):
        row: Dict[str, Any] = dict(
            mode=case.name,
            precision=case.precision,
            batch=batch,
            images_per_second=batch / statistics.median(times) if times else None,
            seconds=_spread(times) if times else None,
            memory_bytes=size,
        )
        for reference in REFERENCES:
            time_ratio = memory_ratio = None
            for other, other_times, other_size in zip(cases, seconds, memory):
                if (other.name, other.precision) != (reference, case.precision):
                    continue
                if times and other_times:
                    pairs = zip(times, other_times)
                    time_ratio = statistics.median(a / b for a, b in pairs)
                if size and other_size:
                    memory_ratio = size / other_size
            row[f'time_to_{reference}'] = time_ratio
            row[f'memory_to_{reference}'] = memory_ratio
        rows.append(row)
    return rows


def _spread(times: Sequence[float]) -> Dict[str, Any]:
    ordered = sorted(times)
    if len(ordered) > 1:
        lower, median, upper = statistics.quantiles(ordered, method='inclusive')
    else:
        lower = median = upper = ordered[0]
    return dict(
        median=median,
        lower_quartile=lower,
        upper_quartile=upper,
        min=ordered[0],
        max=ordered[-1],
        steps=len(ordered),
    )


def result_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Format the rows of :func:`summarize` as text."""
    header = ['mode', 'precision', 'images/s', 'ms/step', 'quartiles', 'memory [GB]']
    header += ['time/conv.', 'time/ckpt.', 'mem./conv.', 'mem./ckpt.']
    lines = []
    for row in rows:
        seconds = row['seconds']
        cells = [row['mode'], row['precision']]
        if seconds is None:
            cells += ['out of memory', '-', '-']
        else:
            low, median, high = (
                f'{1000 * seconds[name]:.0f}'
                for name in ('lower_quartile', 'median', 'upper_quartile')
            )
            cells += [f'{row["images_per_second"]:.2f}', median, f'{low}-{high}']
        size = row['memory_bytes']
        cells.append('-' if size is None else f'{size / 1e9:.3f}')
        for kind in ('time', 'memory'):
            for reference in REFERENCES:
                ratio = row[f'{kind}_to_{reference}']
                cells.append('-' if ratio is None else f'{ratio:.2f}')
        lines.append(cells)
    return format_table(header, lines)
