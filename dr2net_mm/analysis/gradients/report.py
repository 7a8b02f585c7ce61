"""Table and heat map of gradient errors on a grid of (alpha, beta)."""

import math
import os
from typing import Any, Dict, List, Optional, Sequence

from dr2net_mm.cli.output import format_table
from dr2net_mm.errors import UserError

MEASURES = {
    'relative': ('relative_error', 'relative gradient error'),
    'mean': ('mean_error', 'mean absolute gradient error'),
    'max': ('max_error', 'maximum absolute gradient error'),
}
"""Name of a measure -> its key in a row, and its title."""

_LIST_AT_MOST = 12
_SKIPPED = '–'
# Errors below float32's resolution differ by chance; above 1 nothing is right.
_LOWEST, _HIGHEST = 1e-8, 1.0


def error_report(rows: Sequence[Dict[str, Any]], measure: str = 'relative') -> str:
    """Format the rows of a grid: few cells as a list, many as matrices."""
    if len(rows) <= _LIST_AT_MOST:
        return _list(rows)
    key, title = MEASURES[measure]
    parts = []
    for arithmetic in _values(rows, 'arithmetic'):
        cells = _cells(rows, arithmetic)
        betas = _values(rows, 'beta')
        table = format_table(
            ['alpha \\ beta', *(f'{beta:g}' for beta in betas)],
            [
                [f'{alpha:g}', *(_text(cells.get((alpha, b)), key) for b in betas)]
                for alpha in _values(rows, 'alpha')
            ],
        )
        parts.append(f'{title}, {arithmetic} arithmetic\n{table}')
    if _SKIPPED in '\n'.join(parts):
        parts.append(f'{_SKIPPED}: beta = 0 cannot be reversed in float arithmetic')
    if any(row['status'] == 'overflow' for row in rows):
        parts.append('overflow: the streams leave the range of fixed-point numbers')
    return '\n\n'.join(parts)


def _list(rows: Sequence[Dict[str, Any]]) -> str:
    header = ['arithmetic', 'alpha', 'beta', *MEASURES]
    keys = [key for key, _ in MEASURES.values()]
    return format_table(
        header,
        [
            [
                row['arithmetic'],
                f'{row["alpha"]:g}',
                f'{row["beta"]:g}',
                *(_text(row, key) for key in keys),
            ]
            for row in rows
        ],
    )


def _values(rows: Sequence[Dict[str, Any]], key: str) -> List[Any]:
    found = dict.fromkeys(row[key] for row in rows)
    return list(found) if key == 'arithmetic' else sorted(found)


def _cells(rows: Sequence[Dict[str, Any]], arithmetic: str) -> Dict[tuple, dict]:
    return {
        (row['alpha'], row['beta']): row
        for row in rows
        if row['arithmetic'] == arithmetic
    }


def _text(row: Optional[Dict[str, Any]], key: str) -> str:
    if row is None:
        return _SKIPPED
    if row['status'] == 'overflow':
        return 'overflow'
    return '0' if row[key] == 0 else f'{row[key]:.1e}'


def _short(row: Optional[Dict[str, Any]], key: str) -> str:
    """Shorten text to fit into a cell of the heat map."""
    if row is None:
        return _SKIPPED
    if row['status'] == 'overflow':
        return 'over'
    value = row[key]
    if value == 0 or not math.isfinite(value):
        return f'{value:g}'
    return f'{value:.0e}'.replace('e-0', 'e-').replace('e+0', 'e+')


def check_picture(path: Optional[str]) -> None:
    """Raise a UserError unless the name ends in a format that can be drawn."""
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    accepted = FigureCanvasBase.get_supported_filetypes()
    suffix = os.path.splitext(path)[1][1:].lower()
    if suffix not in accepted:
        raise UserError(
            f'--plot {path}: cannot draw {suffix!r}; accepted: {", ".join(accepted)}'
        )


def plot_errors(
    rows: Sequence[Dict[str, Any]], path: str, measure: str = 'relative', title=''
) -> None:
    """Draw a heat map, one panel an arithmetic, laid out as in the paper.

    alpha grows to the right and beta downwards. Colors are logarithmic; cells of
    error 0, without a finite error, and left out have colors of their own.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    key, label = MEASURES[measure]
    arithmetics = _values(rows, 'arithmetic')
    alphas, betas = _values(rows, 'alpha'), _values(rows, 'beta')
    finite = [row[key] for row in rows if math.isfinite(row[key]) and row[key] > 0]
    lowest, highest = min([_LOWEST, *finite]), max([_HIGHEST, *finite])
    if measure != 'relative' and finite:
        lowest, highest = min(finite), max(finite)
    colors = ScalarMappable(LogNorm(lowest, max(highest, lowest * 10)), 'viridis')

    side = max(3.2, 0.45 * len(alphas) + 1), max(2.6, 0.36 * len(betas) + 1.2)
    figure = Figure(
        figsize=(side[0] * len(arithmetics) + 1.2, side[1] + 0.4), layout='constrained'
    )
    panels = figure.subplots(1, len(arithmetics), squeeze=False)[0]
    for axes, arithmetic in zip(panels, arithmetics):
        cells = _cells(rows, arithmetic)
        for x, alpha in enumerate(alphas):
            for y, beta in enumerate(betas):
                row = cells.get((alpha, beta))
                face, ink = _cell_colors(row, key, colors)
                axes.add_patch(
                    Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, edgecolor='w')
                )
                axes.text(
                    x, y, _short(row, key), ha='center', va='center', color=ink, size=7
                )
        axes.set(xlim=(-0.5, len(alphas) - 0.5), ylim=(len(betas) - 0.5, -0.5))
        axes.set_xticks(range(len(alphas)), [f'{alpha:g}' for alpha in alphas])
        axes.set_yticks(range(len(betas)), [f'{beta:g}' for beta in betas])
        axes.set(xlabel='α', ylabel='β', title=f'{arithmetic} arithmetic')
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    figure.colorbar(colors, ax=list(panels), label=label, shrink=0.9)
    figure.suptitle(title, fontsize='medium')
    figure.savefig(path, dpi=150)


def _cell_colors(row: Optional[Dict[str, Any]], key: str, colors) -> tuple:
    """Return the colors of a cell and of the text in it."""
    if row is None:
        return '#f4f4f4', '#555555'
    value = row[key]
    if not math.isfinite(value):
        return '#b03030', 'white'
    if value == 0:
        return '#dfe9f5', '#1a1a1a'
    face = colors.to_rgba(value)
    brightness = 0.3 * face[0] + 0.59 * face[1] + 0.11 * face[2]
    return face, '#1a1a1a' if brightness > 0.55 else 'white'
