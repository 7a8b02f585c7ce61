"""Measure what grows while a network trains for long on inputs of varying size."""

import argparse
import math
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import torch

from dr2net_mm.analysis.backbone_arguments import (
    backbone_parser,
    chosen_backbone,
    chosen_input,
    size_text,
)
from dr2net_mm.analysis.memory.command import mode_backbone
from dr2net_mm.analysis.memory.plan_report import budget_label, memory_budget
from dr2net_mm.analysis.precision import AMP_DTYPES
from dr2net_mm.analysis.quiet import ignore_known_warnings
from dr2net_mm.analysis.subjects.timm_models import fitted, is_timm
from dr2net_mm.cli.command import positive_int, run_command
from dr2net_mm.cli.output import check_output, write_json
from dr2net_mm.errors import UserError
from dr2net_mm.reversible.schedule import CoefficientSchedule

from .record import ALLOWED_GROWTH, judge, overgrown, soak
from .report import draw_soak, soak_report
from .task import (
    SoakTask,
    make_backbone_task,
    make_detector_task,
    varying_sizes,
)

#: Of the coefficients that the command line does not fix.
START, END = (1.0, 0.1), (0.3, 0.7)


def _parser():
    parser = backbone_parser(
        'soak.py',
        'Train a backbone or a detector for hundreds of steps on random inputs of\n'
        'varying size while alpha and beta move, and see whether anything grows:\n'
        'memory, open files, threads, processes, Python objects, caches.',
        'An epoch has one step for every size, always in the same order. What is left\n'
        'after each step of the last epoch is compared with what was left after the\n'
        'same step of the first epoch after the warm-up.\n\n'
        'live:     bytes of tensors that are left after a step: counted storage by\n'
        '          storage beyond the weights on the CPU, by the allocator on CUDA.\n'
        '          Where nothing leaks, both figures are equal to the byte.\n'
        'peak:     most bytes at once within a step; changes with alpha and beta.\n'
        'resident: memory of the process as the system sees it; goes up and down with\n'
        '          the allocator, and has no limit unless you give one.\n\n'
        'alpha and beta move from (1, 0.1) to (0.3, 0.7) during the first half of the\n'
        'run, unless --alpha or --beta fixes them.\n\n'
        'exit codes: 0 nothing has grown, 1 something has, 2 bad input\n\n'
        'Examples:\n'
        '  python tools/analysis/soak.py --backbone swin-t --img-size 256 '
        '--steps 400\n'
        '  python tools/analysis/soak.py --backbone video-swin-t --frames 8 '
        '--budget 0.5\n'
        '  python tools/analysis/soak.py --detector --device cuda --amp fp16 \\\n'
        '      --img-size 800 1333 --workers 2 --plot soak.png \\\n'
        '      configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py',
    )
    parser.set_defaults(batch=1)
    count = dict(type=positive_int, metavar='N')
    parser.add_argument(
        '--steps', default=300, help='at least so many (default: %(default)s)', **count
    )
    parser.add_argument(
        '--sizes',
        default=8,
        help='different sizes, from half to all of --img-size (default: %(default)s)',
        **count,
    )
    parser.add_argument(
        '--warm-up',
        default=2,
        help='epochs that do not count (default: %(default)s)',
        **count,
    )
    parser.add_argument(
        '--detector',
        action='store_true',
        help='train the whole detector of CONFIG, with its own loss',
    )
    parser.add_argument(
        '--mode',
        choices=('dr2', 'conventional', 'checkpoint'),
        default='dr2',
        help="class of the backbone: ours, the MM stack's, or that one checkpointed",
    )
    parser.add_argument(
        '--backprop', choices=('reversible', 'stored'), help='of mode dr2'
    )
    parser.add_argument('--arithmetic', choices=('exact', 'float'), help='of mode dr2')
    parser.add_argument(
        '--budget',
        type=memory_budget,
        metavar='B',
        help='memory_budget of mode dr2: a share of conventional up to 1, or bytes',
    )
    parser.add_argument(
        '--depths', nargs='+', help='blocks of each stage, with --backbone', **count
    )
    parser.add_argument('--width', help='channels, with --backbone', **count)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--amp', choices=tuple(AMP_DTYPES), help='mixed precision')
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        metavar='N',
        help='processes that make the inputs, new ones every epoch (default: 0)',
    )
    parser.add_argument(
        '--max-growth',
        type=int,
        default=ALLOWED_GROWTH['live_bytes'],
        metavar='BYTES',
        help='allowed growth of live (default: %(default)s)',
    )
    parser.add_argument(
        '--max-resident-growth',
        type=int,
        metavar='BYTES',
        help='allowed growth of resident (default: any)',
    )
    parser.add_argument('--plot', metavar='FILE.png', help='draw memory over the steps')
    return parser


def _dual_residual(options: argparse.Namespace) -> Dict[str, Any]:
    given = dict(
        alpha=options.alpha,
        beta=options.beta,
        backprop=options.backprop,
        arithmetic=options.arithmetic,
        memory_budget=options.budget,
    )
    given = {name: value for name, value in given.items() if value is not None}
    if given and options.mode != 'dr2':
        raise UserError(
            f'--mode {options.mode} has no {", ".join(given)}: these are options of '
            '--mode dr2'
        )
    return given


def _check(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    check_output(options.plot, '--plot')
    if options.plot is not None and Path(options.plot).suffix != '.png':
        raise UserError(f'--plot {options.plot}: give a name that ends in .png')
    if options.device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: torch finds no GPU; leave it out')
    if options.amp == 'fp16' and options.device == 'cpu':
        raise UserError('--amp fp16 needs --device cuda; on the CPU give --amp bf16')
    if options.detector and options.config is None:
        raise UserError('--detector needs CONFIG, the config of a detector')
    if options.workers < 0:
        raise UserError(f'--workers {options.workers}: give 0 or more')


def _task(options: argparse.Namespace) -> SoakTask:
    backbone = chosen_backbone(options, options.depths, options.width)
    backbone, largest = chosen_input(options, backbone, default=256)
    sizes = varying_sizes(largest, options.sizes)
    if is_timm(backbone):
        backbone = fitted(backbone, sizes)
    variant = mode_backbone(backbone, options.mode, **_dual_residual(options))
    settings = dict(
        sizes=sizes,
        batch=options.batch,
        device=options.device,
        amp=options.amp,
        workers=options.workers,
    )
    if options.detector:
        return make_detector_task(options.config, variant, **settings)
    return make_backbone_task(variant, **settings)


def _schedule(options: argparse.Namespace, steps: int) -> Optional[CoefficientSchedule]:
    """Return the coefficients of each step, unless the command line fixes them."""
    if options.mode != 'dr2' or (options.alpha, options.beta) != (None, None):
        return None
    return CoefficientSchedule(
        start=START, end=END, end_step=max(1, steps // 2), interval=1
    )


def _title(options: argparse.Namespace, task: SoakTask) -> str:
    words = [
        options.backbone or options.config,
        f'up to {size_text(task.sizes[0])}',
        f'batch {options.batch}',
        options.device,
        f'autocast {options.amp}' if options.amp else 'fp32',
        ' '.join(filter(None, (options.mode, options.backprop, options.arithmetic))),
    ]
    if options.budget is not None:
        words.append(f'budget {budget_label(options.budget)}')
    return ', '.join(words)


def _command(options: argparse.Namespace) -> None:
    _check(options)
    epochs = math.ceil(options.steps / options.sizes)
    if epochs < options.warm_up + 2:
        raise UserError(
            f'--steps {options.steps} are {epochs} epochs of {options.sizes} sizes; at '
            f'least {options.warm_up + 2} are needed, which are '
            f'{(options.warm_up + 2) * options.sizes} steps'
        )
    ignore_known_warnings()
    torch.manual_seed(0)
    task = _task(options)
    steps = epochs * len(task.sizes)
    title = _title(options, task)
    print(f'{title}, {steps} steps, {len(task.sizes)} sizes', flush=True)

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            end = '\n' if done == steps else ''
            print(f'\rstep {done}/{steps}', end=end, file=sys.stderr, flush=True)

    schedule = _schedule(options, steps)
    record = soak(task, epochs, schedule, progress)
    allowed = dict(
        ALLOWED_GROWTH,
        live_bytes=options.max_growth,
        resident_bytes=options.max_resident_growth,
    )
    settled = math.ceil(schedule.end_step / len(task.sizes)) if schedule else 0
    gauges = judge(record, options.warm_up, allowed, settled)
    print(soak_report(gauges, record, options.warm_up))
    grown = [gauge.name for gauge in gauges if not gauge.passed]
    grown += overgrown(record.caches)
    if options.plot:
        draw_soak(record, options.warm_up, Path(options.plot), title)
        print(f'written: {options.plot}')
    if options.json:
        result = dict(
            title=title,
            sizes=task.sizes,
            warm_up=options.warm_up,
            passed=not grown,
            gauges=[dict(gauge._asdict(), passed=gauge.passed) for gauge in gauges],
            steps=record.steps,
            epochs=record.epochs,
            caches={name: cache._asdict() for name, cache in record.caches.items()},
        )
        write_json(options.json, result)
        print(f'written: {options.json}')
    if grown:
        print(f'GROWN over {steps} steps: {", ".join(grown)}')
        sys.exit(1)
    print(f'nothing has grown over {steps} steps')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/soak.py`."""
    run_command(_parser(), _command, arguments)
