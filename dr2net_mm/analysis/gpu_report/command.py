"""Every check that a GPU is needed for, as one command of resumable steps."""

import argparse
import json
import signal
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from dr2net_mm.cli.command import OneLineParser, run_command, tool_parser
from dr2net_mm.cli.output import write_json
from dr2net_mm.errors import StoppedBySignal, UserError

from .process import run_step
from .steps import Step, make_steps
from .tables import report_tables

DESCRIPTION = """\
Run every check of this project that a GPU is needed for: the tests marked cuda with and
without fused kernels, memory counted against memory allocated, time and memory of
backbones and of DINO, determinism of branches, and whether anything grows.
"""

EPILOG = """\
Each step runs in a process of its own, at most --minutes long, and leaves STEP.json and
STEP.log in --out. A step that fails is recorded as failed; the others go on. Called
again, the command runs what has no JSON yet or was stopped by a signal; --force runs
steps again. So a job of ten minutes can do one step after the other:

  bash tools/gpu_report.sh --list
  bash tools/gpu_report.sh                        all steps
  bash tools/gpu_report.sh tests swin-t           two of them
  bash tools/gpu_report.sh --tables               tables of what there is, in Markdown
  bash tools/gpu_report.sh --device cpu --tiny    all steps in miniature, without a GPU

--tiny leaves out swin-l, dino-swin-l, video-swin-t-768 and soak-dino: they run the code
of swin-t, dino-swin-t, video-swin-t and soak at sizes that a miniature has not.

exit codes: 0 all passed, 1 a step failed, 2 bad input, 143 stopped by SIGTERM
"""


class _Stop:
    """Context that notes the signals asking for an end."""

    def __init__(self) -> None:
        self.number: Optional[int] = None

    def __enter__(self) -> '_Stop':
        self._before = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        self.number = number


def _parser() -> OneLineParser:
    parser = tool_parser('gpu_report.sh', DESCRIPTION, EPILOG)
    parser.add_argument(
        'steps', nargs='*', metavar='STEP', help='which steps (default: all)'
    )
    parser.add_argument('--list', action='store_true', help='name the steps and leave')
    parser.add_argument(
        '--tables', action='store_true', help='print tables of the results in --out'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/gpu_report'),
        metavar='DIR',
        help='folder of the results (default: %(default)s)',
    )
    parser.add_argument('--device', choices=('cuda', 'cpu'), default='cuda')
    parser.add_argument(
        '--tiny', action='store_true', help='miniatures, which a CPU runs in a minute'
    )
    parser.add_argument(
        '--force', action='store_true', help='run steps again that have been run'
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=8.0,
        metavar='M',
        help='longest time of a step (default: 8)',
    )
    return parser


def chosen_steps(names: Sequence[str], tiny: bool) -> List[Step]:
    """Return the steps of these names, in the report's order; all where none is named.

    Raises:
        UserError: If a name is unknown.
    """
    steps = make_steps(tiny)
    known = [step.name for step in steps]
    for name in names:
        if name not in known:
            raise UserError(f'step {name!r} is unknown; accepted: {", ".join(known)}')
    return [step for step in steps if not names or step.name in names]


def read_record(path: Path) -> Optional[Dict[str, Any]]:
    """Read the record of a step; None if it has not been run.

    Raises:
        UserError: If the file is not such a record.
    """
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        record['step'], record['status'], record['device'], record['tiny']
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path} is not the record of a step; remove it') from error
    return record


def _finished(step: Step, options: argparse.Namespace) -> Optional[str]:
    """Return the status of a step that need not be run again, if any."""
    record = read_record(options.out / f'{step.name}.json')
    if record is None or record['status'] == 'stopped' or options.force:
        return None
    if (record['device'], record['tiny']) != (options.device, options.tiny):
        size = ' in miniature' if record['tiny'] else ''
        raise UserError(
            f'--out {options.out} holds results of {record["device"]}{size}; give '
            'another folder'
        )
    return record['status']


def _check_device(options: argparse.Namespace) -> None:
    if options.device == 'cpu' and not options.tiny:
        raise UserError('--device cpu: full size needs a GPU; add --tiny')
    if options.minutes <= 0:
        raise UserError(f'--minutes {options.minutes:g}: give more than 0')
    if options.device == 'cuda':
        import torch

        # The steps run in processes of their own, so this may start CUDA.
        if not torch.cuda.is_available():
            raise UserError(
                '--device cuda: torch finds no GPU; --device cpu --tiny runs here'
            )


def _run(options: argparse.Namespace) -> None:
    steps = chosen_steps(options.steps, options.tiny)
    done = {step.name: _finished(step, options) for step in steps}
    options.out.mkdir(parents=True, exist_ok=True)
    with _Stop() as stop:
        for number, step in enumerate(steps, 1):
            label = f'[{number}/{len(steps)}] {step.name}'
            if done[step.name]:
                print(f'{label}: {done[step.name]} before', flush=True)
                continue
            print(f'{label}: {step.what} ...', flush=True)
            log = options.out / f'{step.name}.log'
            log.write_text('', encoding='utf-8')
            started = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())
            found = run_step(
                step.name, options.tiny, options.device, log, 60 * options.minutes,
                lambda: stop.number is not None,
            )  # fmt: skip
            record = dict(
                step=step.name, kind=step.kind, what=step.what, device=options.device,
                tiny=options.tiny, started=started,
                command=f'tools/gpu_report.sh {step.name}', settings=step.settings,
                **found,
            )  # fmt: skip
            write_json(str(options.out / f'{step.name}.json'), record)
            done[step.name] = found['status']
            error = f': {found["error"]}; see {log}' if 'error' in found else ''
            seconds = f'{found["seconds"]:.0f} s'
            print(f'{label}: {found["status"]} in {seconds}{error}', flush=True)
            if stop.number is not None:
                raise StoppedBySignal(
                    stop.number,
                    f'stopped in step {step.name}; the same command goes on there',
                )
    failed = [name for name, status in done.items() if status == 'failed']
    print(f'results: {options.out}; --tables makes tables of them')
    if failed:
        print(f'failed: {", ".join(failed)}')
        raise SystemExit(1)


def _command(options: argparse.Namespace) -> None:
    if options.list:
        for step in chosen_steps(options.steps, options.tiny):
            print(f'{step.name:<20}{step.what}')
    elif options.tables:
        steps = chosen_steps(options.steps, options.tiny)
        records = [read_record(options.out / f'{step.name}.json') for step in steps]
        found = [record for record in records if record is not None]
        if not found:
            raise UserError(f'--out {options.out} holds no results; run the steps')
        print(report_tables(found))
    else:
        _check_device(options)
        _run(options)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/gpu_report.sh``."""
    run_command(_parser(), _command, arguments)
