"""Tables in Markdown of what the steps have left."""

from typing import Any, Dict, List, Optional, Sequence

from dr2net_mm.cli.output import markdown_table

Record = Dict[str, Any]


def report_tables(records: Sequence[Record]) -> str:
    """Format the sections of the report, in the order of the records."""
    parts = [_overview(records)]
    for record in records:
        if record.get('results'):
            title = f'### {record["what"]}'
            about = f'`{record["command"]}`, on {machine_line(record)}.'
            table = _TABLES[record['kind']](record['results'])
            parts.append('\n\n'.join([title, about, table]))
    return '\n\n'.join(parts)


def machine_line(record: Record) -> str:
    """Describe the machine of a record in one line."""
    machine = record.get('machine')
    if machine is None:
        return 'an unknown machine'
    parts = [machine.get('gpu') or machine['processor'], f'torch {machine["torch"]}']
    if machine.get('driver'):
        parts.insert(1, f'driver {machine["driver"]}')
    if machine.get('cuda'):
        parts.append(f'CUDA {machine["cuda"]}')
    if machine['packages'].get('triton'):
        parts.append(f'Triton {machine["packages"]["triton"]}')
    kernels = 'with' if machine['fused_kernels'] else 'without'
    return ', '.join([*parts, f'{kernels} fused kernels'])


def _overview(records: Sequence[Record]) -> str:
    rows = [
        [r['step'], r['status'], f'{r["seconds"]:.0f}', r.get('error', '')]
        for r in records
    ]
    return markdown_table(['step', 'status', 'seconds', 'error'], rows)


def _number(value: Optional[float], form: str = '.2f') -> str:
    return '-' if value is None else format(value, form)


def _gigabytes(size: Optional[int]) -> str:
    return _number(None if size is None else size / 1e9, '.3f')


def _tests(results: Dict[str, Any]) -> str:
    counts = [str(results.get(name, '-')) for name in ('passed', 'failed', 'skipped')]
    table = markdown_table(['passed', 'failed', 'skipped'], [counts])
    failures = [f'- `{f["name"]}`' for f in results.get('failures', ())]
    return '\n\n'.join([table, '\n'.join(failures)]) if failures else table


def _memory(results: Dict[str, Any]) -> str:
    rows = [
        [
            row['subject'],
            'x'.join(map(str, row['size'])),
            str(row['batch']),
            row['precision'],
            row['mode'],
            _gigabytes(row['counted_bytes']),
            _gigabytes(row['allocated_bytes']),
            _number(row['ratio']),
        ]
        for row in results['rows']
    ]
    header = ['', 'size', 'batch', 'precision', 'mode', 'counted [GB]']
    return markdown_table([*header, 'allocated [GB]', 'ratio'], rows)


def _benchmark(results: Dict[str, Any]) -> str:
    rows: List[List[str]] = []
    for row in results['rows']:
        cells = [row['mode'], row['precision']]
        if row['seconds'] is None:
            cells += ['out of memory', '-']
        else:
            cells += [
                f'{row["images_per_second"]:.2f}',
                f'{1000 * row["seconds"]["median"]:.0f}',
            ]
        cells.append(_gigabytes(row['memory_bytes']))
        cells += [
            _number(row[f'{kind}_to_{other}'])
            for kind in ('time', 'memory')
            for other in ('conventional', 'checkpoint')
        ]
        rows.append(cells)
    header = ['mode', 'precision', 'images/s', 'ms a step', 'memory [GB]']
    header += ['time to conv.', 'to ckpt.', 'memory to conv.', 'to ckpt.']
    return markdown_table(header, rows)


def _determinism(results: Dict[str, Any]) -> str:
    def compared(found: Dict[str, Any]) -> List[str]:
        return [
            f'{found["different"]} of {found["gradients"]}',
            _number(found['relative_error'], '.1e'),
        ]

    rows = [
        [
            row['subject'],
            row['precision'],
            'deterministic' if row['deterministic_kernels'] else 'ordinary',
            'nothing' if row['error'] is None else row['error'],
            *compared(row['to_stored']),
            *compared(row['to_itself']),
        ]
        for row in results['rows']
    ]
    header = ['', 'precision', 'kernels', 'reported', 'gradients unlike stored']
    return markdown_table([*header, 'error', 'unlike a second pass', 'error'], rows)


def _soak(results: Dict[str, Any]) -> str:
    rows = [
        [
            gauge['name'],
            str(gauge['before']),
            str(gauge['after']),
            str(gauge['growth']),
            '-' if gauge['allowed'] is None else str(gauge['allowed']),
        ]
        for gauge in results['gauges']
    ]
    header = ['', 'after the warm-up', 'at the end', 'growth', 'allowed']
    return f'{results["title"]}\n\n{markdown_table(header, rows)}'


_TABLES = dict(
    tests=_tests,
    memory=_memory,
    benchmark=_benchmark,
    determinism=_determinism,
    soak=_soak,
)
