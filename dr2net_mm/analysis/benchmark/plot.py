"""Pictures of a benchmark: memory against time, and how both grow."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

from matplotlib.figure import Figure

_COLORS = ('#444444', '#1f77b4', '#d95f02', '#2ca02c', '#9467bd', '#8c564b', '#e377c2')
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
_LINES = ('-', '--', ':')


def _styles(rows: Sequence[Dict[str, Any]]) -> Dict[str, Dict[str, str]]:
    """Choose a color and a marker for each mode, in order of appearance."""
    names = list(dict.fromkeys(row['mode'] for row in rows))
    return {
        name: dict(color=_COLORS[i % len(_COLORS)], marker=_MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(names)
    }


def _measured(rows: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    return [row for row in rows if row['seconds'] and row['memory_bytes']]


def draw_scatter(rows: Sequence[Dict[str, Any]], out: Path, title: str = '') -> None:
    """Draw memory against time per image: a point a row, a panel a precision."""
    rows = _measured(rows)
    styles = _styles(rows)
    precisions = list(dict.fromkeys(row['precision'] for row in rows))
    panels = max(1, len(precisions))
    figure = Figure(figsize=(2.6 + 4 * panels, 4.2), layout='constrained')
    axes = figure.subplots(1, panels, squeeze=False)[0]
    shown: Dict[str, Any] = {}
    for panel, precision in zip(axes, precisions):
        for row in (row for row in rows if row['precision'] == precision):
            scale = 1000 / row['batch']
            median, lower, upper = (
                row['seconds'][name] * scale
                for name in ('median', 'lower_quartile', 'upper_quartile')
            )
            shown[row['mode']] = panel.errorbar(
                row['memory_bytes'] / 1e9,
                median,
                [[median - lower], [upper - median]],
                linestyle='',
                capsize=3,
                **styles[row['mode']],
            )
        panel.set_title(precision, fontsize='medium')
        panel.set_xlabel('memory of a step [GB]')
        panel.margins(0.1)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25)
    axes[0].set_ylabel('forward and backward of an image [ms]')
    figure.legend(
        list(shown.values()), list(shown), loc='outside right center', frameon=False
    )
    figure.suptitle(title, fontsize='medium')
    figure.savefig(out, dpi=150)


def draw_sweep(
    rows: Sequence[Dict[str, Any]], swept: str, out: Path, title: str = ''
) -> None:
    """Time of an image and memory over what was swept, a line a mode."""
    rows = _measured(rows)
    styles = _styles(rows)
    precisions = list(dict.fromkeys(row['precision'] for row in rows))
    figure = Figure(figsize=(10, 4.2), layout='constrained')
    time_axes, memory_axes = figure.subplots(1, 2)
    for i, precision in enumerate(precisions):
        for name, style in styles.items():
            line = [
                row
                for row in rows
                if row['mode'] == name and row['precision'] == precision
            ]
            if not line:
                continue
            values = [row['value'] for row in line]
            label = name if len(precisions) == 1 else f'{name}, {precision}'
            form = dict(style, linestyle=_LINES[i % len(_LINES)], label=label)
            times = [1000 * row['seconds']['median'] / row['batch'] for row in line]
            time_axes.plot(values, times, **form)
            memory_axes.plot(
                values, [row['memory_bytes'] / 1e9 for row in line], **form
            )
    time_axes.set_ylabel('forward and backward of an image [ms]')
    memory_axes.set_ylabel('memory of a step [GB]')
    for axes in (time_axes, memory_axes):
        axes.set_xlabel(swept)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    handles, labels = time_axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside right center', frameon=False)
    figure.suptitle(title, fontsize='medium')
    figure.savefig(out, dpi=150)
