"""Table and picture of a soak."""

from pathlib import Path
from typing import Sequence

from matplotlib.figure import Figure

from dr2net_mm.cli.output import format_table

from .record import Gauge, Record

TITLES = dict(
    live_bytes='live after a step [bytes]',
    peak_bytes='peak of a step [bytes]',
    resident_bytes='resident [bytes]',
    open_files='open files',
    threads='threads',
    children='child processes',
    objects='Python objects',
)


def soak_report(gauges: Sequence[Gauge], record: Record, warm_up: int) -> str:
    """Format what was counted before and after, and what it means."""
    epochs = len(record.epochs['threads'])
    header = ['', f'epoch {warm_up + 1}', f'epoch {epochs}', 'growth', 'allowed', '']
    rows = [
        [
            TITLES[gauge.name],
            f'{gauge.before:,}',
            f'{gauge.after:,}',
            f'{gauge.growth:+,}',
            'any' if gauge.allowed is None else f'{gauge.allowed:,}',
            '' if gauge.passed else 'GROWN',
        ]
        for gauge in gauges
    ]
    caches = [
        [
            name,
            f'{cache.entries:,}',
            'none' if cache.limit is None else f'{cache.limit:,}',
        ]
        for name, cache in record.caches.items()
        if cache.entries
    ]
    text = format_table(header, rows)
    if caches:
        text += '\n\n' + format_table(['cache', 'entries', 'limit'], caches)
    return text


def draw_soak(record: Record, warm_up: int, out: Path, title: str = '') -> None:
    """Draw memory over the steps: tensors above, the whole process below."""
    figure = Figure(figsize=(8, 6), layout='constrained')
    upper, lower = figure.subplots(2, sharex=True)
    steps = range(1, len(record.steps['live_bytes']) + 1)
    for name, label, color in (
        ('peak_bytes', 'peak within a step', '#d95f02'),
        ('live_bytes', 'live after a step', '#1f77b4'),
    ):
        values = [value / 1e6 for value in record.steps[name] if value is not None]
        upper.plot(steps, values, color=color, label=label, linewidth=0.8)
    upper.set_ylabel('tensors [MB]')
    resident = [v / 1e6 for v in record.steps['resident_bytes'] if v is not None]
    # Systems without /proc tell no memory of a process.
    if len(resident) == len(steps):
        lower.plot(steps, resident, color='#444444', linewidth=0.8)
    lower.set_ylabel('process [MB]')
    lower.set_xlabel('step')
    lower.set_xlim(0.5, len(steps) + 0.5)
    for axes in (upper, lower):
        axes.axvspan(0.5, warm_up * record.steps_per_epoch + 0.5, color='#eeeeee')
        axes.set_ylim(0, 1.1 * axes.dataLim.ymax)
        axes.grid(alpha=0.25)
    upper.annotate('warm-up', (0.01, 0.04), xycoords='axes fraction', fontsize='small')
    upper.legend(frameon=False)
    figure.suptitle(title, fontsize='medium')
    figure.savefig(out, dpi=150)
