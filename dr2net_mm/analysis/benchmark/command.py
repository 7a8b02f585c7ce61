"""Time and memory of a training step: conventional, checkpointed, dual-residual."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch

from dr2net_mm.analysis.backbone_arguments import (
    backbone_parser,
    chosen_backbone,
    chosen_input,
    size_text,
)
from dr2net_mm.analysis.memory.plan_report import memory_budget
from dr2net_mm.analysis.precision import PRECISIONS
from dr2net_mm.analysis.quiet import ignore_known_warnings
from dr2net_mm.analysis.subjects.detectors import config_detector
from dr2net_mm.cli.command import OneLineParser, chunk_size, positive_int, run_command
from dr2net_mm.cli.output import check_output, write_json
from dr2net_mm.cli.progress import Progress
from dr2net_mm.errors import UserError

from .cases import (
    MODES,
    Bench,
    Case,
    Subject,
    hardware,
    interleave,
    make_cases,
    savings_of_subject,
)
from .peers import check_peers, run_peers
from .plot import draw_scatter, draw_sweep
from .report import result_table, summarize
from .sweep import parse_sweep, sweep_subjects


def benchmark(
    subject: Subject,
    cases: Sequence[Case],
    device: str,
    rounds: int = 10,
    warm_up: int = 2,
    count_memory: bool = True,
    after: Callable[[str], None] = lambda label: None,
) -> List[Dict[str, Any]]:
    """Measure training steps of several cases, interleaved.

    Args:
        subject: What is measured.
        cases: What is compared.
        device: 'cpu' or 'cuda'.
        rounds: Measured steps of each case.
        warm_up: Steps of each case before.
        count_memory: Whether to count, on the CPU, memory on meta tensors.
        after: Called with a label after each step.

    Returns:
        One dictionary a case, see :func:`summarize`.
    """
    bench = Bench(subject, device)
    results = interleave(
        [partial(bench.step, case) for case in cases],
        rounds,
        warm_up,
        lambda index: after(f'{cases[index].name}, {cases[index].precision}'),
    )
    memory: List[Optional[int]] = []
    for case, found in zip(cases, results):
        if device == 'cuda':
            memory.append(max((r['memory_bytes'] for r in found), default=None))
        else:
            memory.append(bench.counted_bytes(case) if count_memory else None)
    seconds = [[result['seconds'] for result in found] for found in results]
    return summarize(cases, seconds, memory, subject.batch)


def _parser() -> OneLineParser:
    parser = backbone_parser(
        'benchmark.py',
        'Time and memory of a training step (forward and backward, random images),\n'
        'of mmdet\'s backbone, the same with with_cp=True ("checkpoint"), and ours in\n'
        'float and exact arithmetic, each in every precision.',
        'Steps of all of them are interleaved: A B C A B C …, so that a machine that\n'
        'gets slower meets all alike. Times are medians, with quartiles; ratios are\n'
        'medians of the ratios within a round (conv.: to conventional, ckpt.: to\n'
        'checkpoint). Memory is the most that a step takes at once beyond weights:\n'
        'activations and gradients of weights, measured on CUDA, counted on meta\n'
        'tensors for the CPU. Times count only where nothing else is running.\n\n'
        'Examples:\n'
        '  python tools/analysis/benchmark.py --backbone swin-t --img-size 512\n'
        '  python tools/analysis/benchmark.py --backbone swin-l --device cuda \\\n'
        '      --precision bf16 --budget 0.3 --plot swin-l.png --json swin-l.json\n'
        '  python tools/analysis/benchmark.py --backbone swin-t --precision fp32 \\\n'
        '      --sweep img-size 256 512 768 1024 --plot growth.png\n'
        '  python tools/analysis/benchmark.py --backbone swin-t --peers --rounds 3\n'
        '  python tools/analysis/benchmark.py --detector \\\n'
        '      configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py --img-size 512',
    )
    parser.set_defaults(batch=1)
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), help='default: cuda where there is one'
    )
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=tuple(MODES),
        default=list(MODES),
        metavar='MODE',
        help=f'which to compare: {", ".join(map(repr, MODES))} (default: all)',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=tuple(PRECISIONS),
        metavar='P',
        help='fp32, bf16, fp16, the last two under autocast (default: fp32 bf16; on '
        'the CPU fp32, since few have fast bf16)',
    )
    parser.add_argument(
        '--budget',
        type=memory_budget,
        nargs='+',
        default=[],
        metavar='B',
        help="also 'dr2 exact' with this memory_budget: a share of conventional up to "
        '1, or bytes (2e9)',
    )
    parser.add_argument(
        '--chunk',
        type=chunk_size,
        metavar='TOKENS',
        help="tokens of a piece of a branch: a number, 'auto' or 'none'",
    )
    parser.add_argument(
        '--detector',
        action='store_true',
        help='the whole detector of CONFIG with its own loss, on random boxes; with '
        'a checkpointed encoder too, where it has one',
    )
    parser.add_argument(
        '--peers',
        action='store_true',
        help='in place of the modes: everything else that saves memory too, see '
        'memory.py --peers; in fp32',
    )
    parser.add_argument(
        '--sweep',
        nargs='+',
        metavar=('KIND', 'VALUE'),
        help='repeat for several values of img-size (pixels), or of depth (blocks of '
        'the deepest stage)',
    )
    parser.add_argument(
        '--rounds', type=positive_int, default=10, metavar='N', help='default: 10'
    )
    parser.add_argument(
        '--warm-up', type=positive_int, default=2, metavar='N', help='default: 2'
    )
    parser.add_argument(
        '--threads', type=positive_int, metavar='N', help='threads of the CPU'
    )
    parser.add_argument(
        '--no-memory',
        action='store_true',
        help='on the CPU, do not count memory, which takes a while for large images',
    )
    parser.add_argument(
        '--plot',
        metavar='PNG',
        help='draw memory against time here, or their growth in a sweep',
    )
    return parser


def _check(options: argparse.Namespace) -> str:
    """Check what can be wrong before anything runs; return the device."""
    check_output(options.json, '--json')
    check_output(options.plot, '--plot')
    if options.peers:
        check_peers(options)
    device = options.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if device == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: there is no CUDA device here; use --device cpu')
    if options.plot and options.no_memory and device == 'cpu':
        raise UserError('--plot shows memory: leave out --no-memory')
    if options.detector and options.config is None:
        raise UserError('--detector needs CONFIG, the config of a detector')
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.precision is None:
        options.precision = ['fp32', 'bf16'] if device == 'cuda' else ['fp32']
    return device


def _command(options: argparse.Namespace) -> None:
    device = _check(options)
    ignore_known_warnings()
    if options.sweep is not None:
        options.sweep = parse_sweep(options.sweep)
    backbone, size = chosen_input(options, chosen_backbone(options), default=512)
    subject = Subject(
        backbone,
        config_detector(options.config) if options.detector else None,
        size,
        options.batch,
    )
    given = dict(alpha=options.alpha, beta=options.beta, chunk=options.chunk)
    given = {key: value for key, value in given.items() if value is not None}
    if options.peers:
        run_peers(options, backbone, size, device, given)
        return
    cases = make_cases(
        options.modes,
        options.precision,
        given,
        options.budget,
        savings_of_subject(subject),
    )
    machine = hardware(device)
    name = options.backbone or options.config
    kind = options.sweep[0] if options.sweep else None
    print(', '.join(f'{key} {value}' for key, value in machine.items()))
    rows: List[Dict[str, Any]] = []
    subjects = list(sweep_subjects(options, subject))
    progress = Progress(len(subjects) * len(cases) * (options.rounds + options.warm_up))
    for value, part in subjects:
        found = benchmark(
            part,
            cases,
            device,
            options.rounds,
            options.warm_up,
            not options.no_memory,
            progress.step,
        )
        deepest = f', depth {value}' if kind == 'depth' else ''
        print(f'\n{name}{deepest}, {size_text(part.image_size)}, batch {part.batch}')
        print(result_table(found), flush=True)
        for row in found:
            row.update(image_size=list(part.image_size), value=value)
        rows += found
        if options.json:
            # After every value: a long sweep that is stopped leaves what it has.
            result = dict(name=name, sweep=kind, hardware=machine, rows=rows)
            write_json(options.json, result)
    if options.json:
        print(f'written: {options.json}')
    if options.plot:
        processor = machine.get('gpu', machine['processor'])
        title = f'{name}, batch {options.batch}, {processor}'
        if kind:
            draw_sweep(rows, kind, Path(options.plot), title)
        else:
            draw_scatter(rows, Path(options.plot), title)
        print(f'picture: {options.plot}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/benchmark.py`."""
    run_command(_parser(), _command, arguments)
