"""``docs/evidence.md`` from the records of all runs, and from nothing else."""

from pathlib import Path
from typing import Any, Dict, List

from .answers import answers
from .plots import draw_plots
from .record import read_records
from .summary import Summary
from .tables import task_tables
from .tasks import TASKS, Task

_INTRODUCTION = """\
# Evidence: a pretrained network finetuned row by row
"""

_READING = """\
## How to read this page

`tools/experiments/report.py` writes it from the files in `evidence/`, one a run, which
`tools/experiments/run.py` writes; a test makes it again from them. Every row is trained by
`tools/train.py` with the same recipe; only the backbone and the path of (α, β) differ. A number
is the mean ± standard deviation of the seeds. A difference is that of runs with the same seed, with
its 95 % confidence interval (Student's t over the seeds); with three seeds that interval is wide.
*Gradient error* is the relative error of the reversible gradients against stored activations on four
images, in the first and the last iteration, the largest of the seeds (`ReversibilityHook`). *Peak*
is that of the activations of one training step of the backbone, counted on meta tensors. *Time* is
processor time relative to conventional training, start-up and evaluation in it. A dynamic row
moves (α, β) over 80 % of the run.
"""

_REPEAT = """\
## Do it yourself

```bash
{preparation}
python tools/experiments/run.py {task}    # leaves out the runs that are committed
python tools/experiments/report.py
```
"""


def evidence_page(records: Path, plots: Path, link: str) -> str:
    """The page as Markdown; draws its plots.

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
        return f'{_INTRODUCTION}\nNothing has been run yet.\n\n{_READING}'
    first, *others = measured.values()
    parts = [_INTRODUCTION, '\n'.join(answers(first)), '', _READING]
    for summary in [first, *others]:
        parts.append(_task_section(summary, plots, link, summary is not first))
    parts.append(_proximity(records))
    return '\n'.join(part for part in parts if part is not None).rstrip() + '\n'


def _task_section(summary: Summary, plots: Path, link: str, own_answers: bool) -> str:
    task, drawn = summary.task, draw_plots(summary, plots)
    runs = sum(len(one.records) for one in summary.rows.values())
    lines = [f'## {task.title}', '', _recipe(summary), '']
    if own_answers:
        lines += [*answers(summary), '']
    lines += [
        f'{runs} runs, {summary.cpu_hours:.1f} hours of processor time '
        f'({"; ".join(summary.machines)}).',
        '',
        f'![{task.metric_name} of each row]({link}/{drawn["bars"].name})',
        '',
        task_tables(summary),
        '',
        f'![training loss]({link}/{drawn["curves"].name})',
        '',
        f'![{task.metric_name} against memory]({link}/{drawn["memory"].name})',
        '',
        _REPEAT.format(task=task.name, preparation='\n'.join(task.preparation)),
    ]
    return '\n'.join(lines)


def _recipe(summary: Summary) -> str:
    """The recipe, from the config of a record."""
    one = next(iter(summary.rows.values()))
    record: Dict[str, Any] = next(iter(one.records.values()))
    config = record['config']
    optimizer = config['optim_wrapper']['optimizer']
    size = '×'.join(map(str, config['image_size']))
    return (
        f'Config `{summary.task.config}`: {size} pixels, batches of '
        f'{config["batch_size"]}, {config["train_cfg"]["max_epochs"]} epochs '
        f'({record["iterations"]} iterations), {optimizer["type"]} with learning rate '
        f'{optimizer["lr"]:g}, weight decay {optimizer["weight_decay"]:g}.'
    )
