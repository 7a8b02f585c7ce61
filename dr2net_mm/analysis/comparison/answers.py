"""What the measurements say, in sentences."""

from typing import Any, Dict, List, Sequence

from dr2net_mm.analysis.memory.peer_memory import gigabytes

from .records import OURS, Records, counted_rows, row_of

#: Relative errors above this are called wrong: float32 itself is at some 1e-6.
WRONG = 1e-3
WHOLE, NOTHING = 'all', 'nothing'


def subject(record: Dict[str, Any]) -> str:
    """Name a network and its input."""
    size = '×'.join(map(str, record['image_size']))
    return f'{record["name"]}, {size}, batch {record["batch"]}'


def answers(records: Records) -> List[str]:
    """Return the answers at the head of the page, from the records alone."""
    found = [f'**Memory.** {_memory(record)}' for record in records.memory]
    found += [f'**Gradients.** {_gradients(record)}' for record in records.memory]
    if records.time is not None:
        found.append(f'**Time.** {_time(records.time)}')
    if records.engines is not None:
        found.append(f'**Engines.** {_engines(records.engines)}')
    return found


def losses(records: Records) -> List[str]:
    """Return where ours is behind, a line each."""
    lines = []
    for record in records.memory:
        ours = row_of(record, OURS)
        for key, what in (
            ('peak_bytes', 'smaller peak of activations'),
            ('all_bytes', 'less memory with everything'),
        ):
            better = _others(record, lambda row, key=key: row[key] < ours[key])
            shown = ', '.join(f'{r["mode"]} ({gigabytes(r[key])} GB)' for r in better)
            if better:
                lines.append(
                    f'{subject(record)}: {what} than ours ({gigabytes(ours[key])} GB): '
                    f'{shown}.'
                )
        ours_error = _error(ours)
        better = _others(record, lambda row: _error(row) < ours_error)
        if better:
            names = ', '.join(row['mode'] for row in better)
            lines.append(
                f'{subject(record)}: smaller gradient error than the {ours_error:.1e} '
                f'of the rounding of our streams: {names}.'
            )
    if records.time is not None:
        ours = row_of(records.time, OURS)
        ratio = 'time_to_conventional'
        better = _others(records.time, lambda row: row[ratio] < ours[ratio])
        if better:
            shown = ', '.join(f'{row["mode"]} ({row[ratio]:.2f})' for row in better)
            lines.append(
                f'{subject(records.time)}: faster than ours ({ours[ratio]:.2f} × '
                f'conventional): {shown}.'
            )
    return lines


def _others(record: Dict[str, Any], chosen: Any) -> List[Dict[str, Any]]:
    return [
        row
        for row in counted_rows(record)
        if not row['mode'].startswith('dr2') and chosen(row)
    ]


def _error(row: Dict[str, Any]) -> float:
    """Return the gradient error; of what ordinary autograd trains none is measured."""
    error = row.get('gradient_error')
    return float('inf') if error is None else float(error)


def _memory(record: Dict[str, Any]) -> str:
    ours = row_of(record, OURS)
    peak = ours['peak_bytes']
    whole = _others(record, lambda row: row['trains'] == WHOLE)
    text = f'{subject(record)}: ours peaks at {gigabytes(peak)} GB, '
    text += _below(peak, whole, 'the whole backbone')
    frozen = _others(record, lambda row: row['trains'] == NOTHING)
    if frozen:
        text += ', and ' + _below(peak, frozen, 'nothing of it')
    return text + '.'


def _below(peak: int, rows: Sequence[Dict[str, Any]], trained: str) -> str:
    lower = [row for row in rows if row['peak_bytes'] <= peak]
    if lower:
        names = ', '.join(f'{r["mode"]} ({gigabytes(r["peak_bytes"])})' for r in lower)
        return f'above {names} of the rows that train {trained}'
    least = min(rows, key=lambda row: row['peak_bytes'])
    shown = f'{least["mode"]}, {gigabytes(least["peak_bytes"])}'
    if len(rows) == 1:
        return f'below the one that trains {trained} ({shown})'
    return f'below each of the {len(rows)} that train {trained} (least: {shown})'


def _gradients(record: Dict[str, Any]) -> str:
    ours = row_of(record, OURS)
    wrong = [
        f'{row["mode"]} ({float(row["gradient_error"]):.0e})'
        for row in counted_rows(record)
        if row.get('gradient_error') is not None and not _error(row) <= WRONG
    ]
    text = f'{record["name"]}: ours recomputes with error '
    text += f'{ours["recomputation_error"]:g} and is {_error(ours):.0e} from float32 '
    text += 'streams'
    if wrong:
        text += f'; relative errors above {WRONG:g}: {", ".join(wrong)}'
    return text + '.'


def _time(record: Dict[str, Any]) -> str:
    ours = row_of(record, OURS)
    checkpoint = row_of(record, 'with_cp')
    text = f'{subject(record)}: ours takes {ours["time_to_conventional"]:.2f} × '
    text += f'conventional, with_cp {checkpoint["time_to_conventional"]:.2f}; '
    better = [
        row['mode']
        for row in counted_rows(record)
        if row['trains'] == WHOLE
        and row['peak_bytes'] < ours['peak_bytes']
        and row['time_to_conventional'] < ours['time_to_conventional']
        and not row['mode'].startswith('dr2')
    ]
    if better:
        return text + f'both faster and smaller: {", ".join(better)}.'
    return text + 'nothing that trains the whole backbone is both faster and smaller.'


def _engines(record: Dict[str, Any]) -> str:
    situations = dict(
        autocast_error='bf16 autocast',
        two_forwards_error='two forward passes',
        two_models_error='two models',
        ddp='DDP',
        ddp_find_unused='DDP with find_unused_parameters',
    )
    parts = []
    for row in record['rows']:
        if 'reason' in row or row['name'] == 'stored':
            continue
        bad = [name for key, name in situations.items() if _bad(row.get(key))]
        if float(row['dropout_replayed'].get('value', 0)) < 1:
            bad.append('dropout')
        text = f'wrong or failing under {", ".join(bad)}' if bad else 'right everywhere'
        parts.append(f'{row["name"]}: {text}')
    return '; '.join(parts) + f' (wrong: relative error above {WRONG:g}).'


def _bad(cell: Any) -> bool:
    return bool(cell) and ('error' in cell or not float(cell['value']) <= WRONG)
