"""``docs/evidence.md`` from the records of all runs, and from nothing else."""

import json
from pathlib import Path
from typing import Any, Dict

from dr2net_mm.cli.output import markdown_table
from dr2net_mm.errors import DataFileError

from . import page_text
from .answers import answers
from .headlines import headlines
from .plots import draw_plots
from .record import read_records
from .summary import Summary
from .tables import task_tables
from .tasks import TASKS


def evidence_page(records: Path, plots: Path, link: str) -> str:
    """Return the page as Markdown and draw its plots.

    Args:
        records: Folder of the records.
        plots: Folder that the plots go to.
        link: The same folder as the page names it.

    Raises:
        DataFileError: If a record is damaged.
    """
    summaries = {
        name: Summary(task, read_records(records, name)) for name, task in TASKS.items()
    }
    measured = {name: one for name, one in summaries.items() if one}
    if not measured:
        return f'{page_text.TITLE}\nNothing has been run yet.\n\n{page_text.READING}'
    parts = [page_text.TITLE, '\n'.join(headlines([*measured.values()])), '']
    parts.append(page_text.READING)
    for summary in measured.values():
        parts.append(_task_section(summary, plots, link))
    parts.append(_proximity(records))
    return '\n'.join(parts).rstrip() + '\n'


def _task_section(summary: Summary, plots: Path, link: str) -> str:
    task, drawn = summary.task, draw_plots(summary, plots)
    runs = sum(len(one.records) for one in summary.rows.values())
    lines = [
        f'## {task.title}',
        '',
        _recipe(summary),
        '',
        *answers(summary),
        '',
        f'{runs} run{"s" * (runs > 1)}, {summary.cpu_hours:.2f} hours of processor '
        f'time ({"; ".join(summary.machines)}).',
        '',
        f'![{task.metric_name} of each row]({link}/{drawn["bars"].name})',
        '',
        task_tables(summary),
        '',
        f'![training loss]({link}/{drawn["curves"].name})',
        '',
        f'![{task.metric_name} against memory]({link}/{drawn["memory"].name})',
        '',
        page_text.REPEAT.format(
            task=task.name, preparation='\n'.join(task.preparation)
        ),
    ]
    return '\n'.join(lines)


def _recipe(summary: Summary) -> str:
    """Return the recipe, from the config of a record."""
    one = next(iter(summary.rows.values()))
    record: Dict[str, Any] = next(iter(one.records.values()))
    config = record['config']
    optimizer = config['optim_wrapper']['optimizer']
    *frames, height, width = config['image_size']
    size = f'{frames[0]} frames of {height}×{width}' if frames else f'{height}×{width}'
    return (
        f'Config `{summary.task.config}`: {size} pixels, batches of '
        f'{config["batch_size"]}, {config["train_cfg"]["max_epochs"]} epochs '
        f'({record["iterations"]} iterations), {optimizer["type"]} with learning rate '
        f'{optimizer["lr"]:g}, weight decay {optimizer["weight_decay"]:g}.'
    )


def _proximity(records: Path) -> str:
    """Return the table of ``tools/analysis/proximity.py``, if its file is there.

    Raises:
        DataFileError: If the file is damaged.
    """
    path = records / 'proximity.json'
    if not path.is_file():
        return ''
    try:
        found = json.loads(path.read_text())
        lines = [
            [
                f'({row["alpha"]:g}, {row["beta"]:g})',
                f'{row["gain"]:.3f}',
                f'{row["cosine"]:.4f}',
            ]
            for row in found['rows']
        ]
        images = found['rows'][0]['images']
        subject = f'{found["backbone"]} with the weights `{found["checkpoint"]}`'
        size = '×'.join(map(str, found['size']))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataFileError(
            f'{path} is not what tools/analysis/proximity.py --json writes '
            f'({error!r}): make it again'
        ) from None
    table = markdown_table(['(α, β)', 'gain', 'cosine'], lines, numbers=True)
    return page_text.PROXIMITY.format(
        subject=subject, images=images, size=size, table=table
    )
