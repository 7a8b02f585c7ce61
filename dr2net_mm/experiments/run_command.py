"""The command ``tools/experiments/run.py``."""

import argparse
import os
from pathlib import Path
from typing import Optional, Sequence

from dr2net_mm.cli.command import (
    OneLineParser,
    positive_int,
    run_command,
    tool_parser,
)

from .queue import REPOSITORY, Queue, queue_order
from .rows import ROWS, row_named
from .tasks import TASKS, task_named

EXAMPLES = """
examples:
  # everything: the runs whose records are committed are left out
  python tools/experiments/run.py classification

  # one row with other seeds, into a folder of your own
  python tools/experiments/run.py classification --rows conventional line_0.1 \\
      --seeds 10 11 12 --records my_evidence

  # what there is, without a run
  python tools/experiments/run.py classification --list

A queue that was killed goes on with the run that it was at. Then:
  python tools/experiments/report.py
"""


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser(
        'run.py',
        'Finetune a pretrained network in many ways, a run each, through '
        'tools/train.py.\nEach run leaves a small JSON file, from which report.py '
        'makes tables and plots.',
        EXAMPLES,
    )
    parser.add_argument('task', help=f'one of {", ".join(TASKS)}')
    parser.add_argument(
        '--rows',
        nargs='+',
        default=list(ROWS),
        metavar='ROW',
        help=f'which ways of finetuning (default: all): {", ".join(ROWS)}',
    )
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='seeds of each row (default: 0 1 2)',
    )
    parser.add_argument(
        '--records',
        type=Path,
        default=REPOSITORY / 'evidence',
        help='folder of the JSON files (default: evidence of the repository)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=REPOSITORY / 'work_dirs' / 'experiments',
        help='folder of logs (default: work_dirs/experiments of the repository)',
    )
    parser.add_argument(
        '--threads',
        type=positive_int,
        default=1,
        help='threads of a run (default: %(default)s)',
    )
    parser.add_argument(
        '--list', action='store_true', help='show the queue and train nothing'
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Train what is missing, or list it."""
    task = task_named(options.task)
    for row in options.rows:
        row_named(row)
    records, work_dir = options.records.resolve(), options.work_dir.resolve()
    # Paths in configs are those below the repository, as tools/train.py takes them.
    os.chdir(REPOSITORY)
    queue = Queue(task, records, work_dir, options.threads)
    runs = queue_order(options.rows, options.seeds)
    missing = set(queue.missing(runs))
    if options.list:
        for run in runs:
            state = 'to do' if run in missing else 'done'
            print(f'{state:5}  {run.row}, seed {run.seed}: {ROWS[run.row].title}')
    print(f'{task.title}: {len(runs) - len(missing)} of {len(runs)} runs are done')
    if missing and not options.list:
        queue.work(runs)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/experiments/run.py``."""
    run_command(build_parser(), work, arguments)
