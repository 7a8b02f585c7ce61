"""Picture of memory against time, a point a way to train."""

from pathlib import Path
from typing import Any, Dict

from matplotlib.figure import Figure

from .answers import subject
from .records import counted_rows

#: What is trained -> color and marker.
_STYLES = {
    'all': ('#1f77b4', 'o'),
    'added parts': ('#2ca02c', 's'),
    'nothing': ('#444444', 'D'),
}
_OURS = ('#d95f02', '*')


def draw_comparison(record: Dict[str, Any], out: Path) -> None:
    """Draw the peak of activations against the time of a step."""
    figure = Figure(figsize=(9, 5.4), layout='constrained')
    axes = figure.subplots()
    shown = set()
    for number, row in enumerate(counted_rows(record)):
        ours = row['mode'].startswith('dr2')
        color, marker = _OURS if ours else _STYLES[row['trains']]
        label = 'ours, trains all' if ours else f'trains {row["trains"]}'
        place = (row['time_to_conventional'], row['peak_bytes'] / 1e9)
        axes.plot(
            *place,
            color=color,
            marker=marker,
            markersize=11 if ours else 6,
            linestyle='',
            label=None if label in shown else label,
        )
        shown.add(label)
        axes.annotate(
            row['mode'],
            place,
            xytext=(7, -10 if number % 2 else 4),  # neighbors overlap
            textcoords='offset points',
            fontsize='x-small',
            color=color,
        )
    axes.set_xlabel('time of a step, conventional = 1')
    axes.set_ylabel('peak of activations [GB]')
    axes.set_yscale('log')
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatter('{x:g}')
    axes.margins(x=0.15, y=0.1)
    axes.grid(alpha=0.25, which='both')
    axes.legend(frameon=False)
    processor = record['hardware'].get('gpu', record['hardware']['processor'])
    figure.suptitle(f'{subject(record)}, fp32, {processor}', fontsize='medium')
    figure.savefig(out, dpi=130)
