"""Plots of a task: bars with error bars, curves of the loss, metric against memory."""

from pathlib import Path
from typing import Dict, List

import numpy as np
from matplotlib.figure import Figure

from .rows import ROWS
from .summary import REFERENCE, RowSummary, Summary

_COLORS = {
    'conventional': '#555555',
    'frozen': '#aaaaaa',
    'exact': '#1f77b4',
    'float': '#d95f02',
}
#: Rows whose curves are drawn; more would hide each other.
_CURVES = ('conventional', 'dynamic', 'vanilla', 'line_0.1', 'vanilla_float', 'hard')


def draw_plots(summary: Summary, folder: Path) -> Dict[str, Path]:
    """Draw the plots of a task that has records.

    Args:
        summary: The records.
        folder: Where the PNG files go.

    Returns:
        Files by kind: ``bars``, ``curves``, ``memory``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for kind, draw in (('bars', _bars), ('curves', _curves), ('memory', _memory)):
        figure = draw(summary)
        drawn[kind] = folder / f'{summary.task.name}_{kind}.png'
        # Without the version of matplotlib, so that the same plot is the same file.
        figure.savefig(drawn[kind], dpi=110, metadata=dict(Software=None))
    return drawn


def _color(one: RowSummary) -> str:
    row = one.row
    return _COLORS[row.arithmetic if row.network == 'dual_residual' else row.network]


def _measured(summary: Summary) -> List[RowSummary]:
    return [one for one in summary.rows.values() if one.values]


def _bars(summary: Summary) -> Figure:
    rows = _measured(summary)
    figure = Figure(figsize=(7.5, 0.8 + 0.28 * len(rows)), layout='constrained')
    axes = figure.add_subplot()
    for place, one in enumerate(rows):
        found = one.sample
        if found is None:
            continue
        axes.barh(
            place,
            found.mean,
            xerr=found.deviation or 0.0,
            color=_color(one),
            capsize=3,
            height=0.7,
        )
        axes.plot(list(one.values.values()), [place] * found.seeds, 'k.', markersize=3)
    axes.set_yticks(range(len(rows)), [one.row.title for one in rows])
    axes.invert_yaxis()
    lowest = min(min(one.values.values()) for one in rows)
    highest = max(max(one.values.values()) for one in rows)
    margin = 0.1 * (highest - lowest) or 0.05
    axes.set_xlim(lowest - margin, highest + margin)
    reference = summary.rows[REFERENCE].sample if REFERENCE in summary.rows else None
    if reference is not None:
        axes.axvline(reference.mean, color='#555555', ls=':')
    axes.set_xlabel(
        f'{summary.task.metric_name}, test (bars: mean and standard deviation of the '
        'seeds; dots: seeds)'
    )
    axes.grid(axis='x', alpha=0.25)
    return figure


def _curves(summary: Summary) -> Figure:
    figure = Figure(figsize=(7.5, 3.8), layout='constrained')
    axes = figure.add_subplot()
    for name in _CURVES:
        if name not in summary.rows:
            continue
        records = list(summary.rows[name].records.values())
        longest = max(len(record['curve']['loss']) for record in records)
        whole = [r['curve'] for r in records if len(r['curve']['loss']) == longest]
        losses = np.mean([curve['loss'] for curve in whole], axis=0)
        axes.plot(whole[0]['iteration'], losses, label=ROWS[name].title, lw=1.4)
    axes.set(xlabel='iteration', ylabel='training loss, mean of the seeds')
    axes.grid(alpha=0.25)
    if axes.lines:
        axes.legend(fontsize='small')
    return figure


def _memory(summary: Summary) -> Figure:
    figure = Figure(figsize=(7.5, 3.8), layout='constrained')
    axes = figure.add_subplot()
    for one in _measured(summary):
        found = one.sample
        if found is None:
            continue
        place = one.peak_bytes / 1e6
        axes.errorbar(
            place, found.mean, found.deviation or 0.0, fmt='o', color=_color(one)
        )
    for kind, shade in _COLORS.items():
        axes.plot([], [], 'o', color=shade, label=kind)
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter('{x:g}')
    axes.set(
        xlabel='peak of the activations of a training step, MB (counted)',
        ylabel=f'{summary.task.metric_name}, test',
    )
    axes.grid(alpha=0.25, which='both')
    axes.legend(fontsize='small')
    return figure
