"""The command ``tools/analysis/engines.py``."""

import argparse
import importlib.metadata
import statistics
import time
import warnings
from functools import partial
from typing import Any, Dict, List, Optional, Sequence

import torch

from dr2net_mm.analysis.benchmark.cases import hardware, interleave
from dr2net_mm.cli.command import (
    OneLineParser,
    positive_int,
    run_command,
    tool_parser,
)
from dr2net_mm.cli.output import check_output, format_table, write_json
from dr2net_mm.cli.progress import Progress
from dr2net_mm.errors import UserError
from dr2net_mm.optional_imports import usable

from .checks import Checks, answer, loss_of
from .distributed import ddp_answers
from .network import Network
from .stacks import engines, imported

#: Height and width of images in situations, and blocks under DDP, at most.
SMALL_SIZE, DDP_DEPTH = 64, 2
#: Questions about the network itself.
QUESTIONS = ('gradient_error', 'recomputation_error', 'peak_bytes')
#: Questions about situations, asked with one small image: many CPUs compute in bf16
#: hundreds of times slower than in float32.
SITUATIONS = (
    'autocast_error',
    'dropout_replayed',
    'two_forwards_error',
    'two_models_error',
)


def compare_engines(
    network: Network, rounds: int, warm_up: int = 1
) -> List[Dict[str, Any]]:
    """Measure every engine.

    Args:
        network: What they run.
        rounds: Timed steps of each, interleaved.
        warm_up: Steps before.

    Returns:
        One dictionary an engine: name, package, version and an answer a question; or
        name, package and the reason why it cannot run.
    """
    rows, ready = [], []
    progress = Progress(len(engines()))
    checks = Checks(network)
    small = network._replace(batch=1, image_size=min(SMALL_SIZE, network.image_size))
    shallow = small._replace(depth=min(DDP_DEPTH, network.depth))
    for engine in engines():
        row: Dict[str, Any] = dict(name=engine.name, package=engine.package)
        rows.append(row)
        try:
            if engine.package:
                imported(engine.package)
                row['version'] = importlib.metadata.version(engine.package)
        except UserError as error:
            row['reason'] = str(error)
            continue
        for question in QUESTIONS:
            row[question] = answer(getattr(checks, question), engine)
        for question in SITUATIONS:
            row[question] = answer(getattr(Checks(small), question), engine)
        row.update(ddp_answers(engine, shallow))
        ready.append((row, engine))
        progress.step(engine.name)
    _time(ready, network, rounds, warm_up)
    return rows


def _time(ready: Sequence[Any], network: Network, rounds: int, warm_up: int) -> None:
    """Add seconds of a step and its ratio to that of the first row."""
    images = network.images()
    models = [network.build(engine.factory) for _, engine in ready]

    def step(model: Any) -> Dict[str, Any]:
        model.zero_grad(set_to_none=True)
        start = time.perf_counter()
        loss_of(model, images).backward()
        return dict(seconds=time.perf_counter() - start)

    results = interleave([partial(step, model) for model in models], rounds, warm_up)
    seconds = [[found['seconds'] for found in result] for result in results]
    for (row, _), times in zip(ready, seconds):
        ratios = [a / b for a, b in zip(times, seconds[0])]
        row['seconds'] = dict(value=statistics.median(times))
        row['time_ratio'] = dict(value=statistics.median(ratios))


def engine_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Format the rows of :func:`compare_engines` as text."""
    columns = engine_columns()
    lines = [
        [row['name'], *(show(row.get(key, {})) for key, _, show in columns)]
        for row in rows
        if 'reason' not in row
    ]
    left_out = [f'{row["name"]}: {row["reason"]}' for row in rows if 'reason' in row]
    header = ['engine', *(title for _, title, _ in columns)]
    return '\n'.join([format_table(header, lines), *left_out])


def engine_columns() -> List[Any]:
    """Return key, title and format of each column."""

    def number(form: str, scale: float = 1.0) -> Any:
        def show(cell: Dict[str, Any]) -> str:
            if 'value' not in cell:
                return 'fails' if cell else '-'
            return format(float(cell['value']) * scale, form)

        return show

    def error(cell: Dict[str, Any]) -> str:
        if 'value' not in cell:
            return 'fails' if cell else '-'
        value = float(cell['value'])
        return '0' if value == 0 else f'{value:.1e}'

    return [
        ('gradient_error', 'gradient error', error),
        ('recomputation_error', 'of recomputation', error),
        ('peak_bytes', 'peak [MB]', number('.1f', 1e-6)),
        ('time_ratio', 'time', number('.2f')),
        ('autocast_error', 'bf16 autocast', error),
        ('dropout_replayed', 'dropout replayed', number('.0%')),
        ('two_forwards_error', 'two forwards', error),
        ('two_models_error', 'two models', error),
        ('ddp', 'DDP', error),
        ('ddp_find_unused', 'DDP, unused', error),
    ]


def _parser() -> OneLineParser:
    parser = tool_parser(
        'engines.py',
        'Compare reversible engines on one ViT of timm: revlib, memcnn, mmpretrain,\n'
        'a float engine as in the literature, and exact arithmetic.',
        'All run the same branches with the same weights as a RevNet, (alpha, beta) =\n'
        '(0, 1); two more rows are at (1, 0.1), which the others cannot express.\n'
        'gradient error: |g - r| / |r| against everything stored in float32.\n'
        'of recomputation, and all further columns: against everything stored in the\n'
        "engine's own arithmetic, under the same conditions. peak: of what the CPU's\n"
        'allocator hands out, without gradients of parameters. DDP: two processes.\n'
        'An engine whose package is missing is left out, with what to install.\n\n'
        'Examples:\n'
        '  python tools/analysis/engines.py --json evidence/comparison/engines.json\n'
        '  python tools/analysis/engines.py --depth 2 --img-size 64 --rounds 1',
    )
    usual = Network()
    parser.add_argument(
        '--vit',
        default=usual.name,
        metavar='NAME',
        help='a ViT of timm without pretrained weights (default: %(default)s)',
    )
    for option, value, text in (
        ('--img-size', usual.image_size, 'height and width in pixels'),
        ('--depth', usual.depth, 'blocks'),
        ('--batch', usual.batch, 'images'),
        ('--rounds', 5, 'timed steps of each engine, interleaved'),
    ):
        parser.add_argument(
            option,
            type=positive_int,
            default=value,
            metavar='N',
            help=f'{text} (default: %(default)s)',
        )
    parser.add_argument(
        '--threads', type=positive_int, metavar='N', help='threads of the CPU'
    )
    parser.add_argument('--json', metavar='FILE', help='write the results here')
    return parser


def _command(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    if not usable('timm.models'):
        raise UserError('engines.py needs timm; pip install timm')
    if options.threads:
        torch.set_num_threads(options.threads)
    network = Network(options.vit, options.img_size, options.depth, options.batch)
    machine = hardware('cpu')
    print(', '.join(f'{key} {value}' for key, value in machine.items()))
    size = f'{network.image_size} pixels, batch {network.batch}'
    print(f'{network.name}, {network.depth} blocks, {size}', flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # those of other packages are not ours
        rows = compare_engines(network, options.rounds)
    print(engine_table(rows))
    for row in rows:
        for key, cell in row.items():
            if isinstance(cell, dict) and 'error' in cell:
                print(f'{row["name"]}, {key}: {cell["error"]}')
    if options.json:
        result = dict(
            network=network._asdict(),
            situations=dict(
                image_size=min(SMALL_SIZE, network.image_size),
                ddp_depth=min(DDP_DEPTH, network.depth),
            ),
            rounds=options.rounds,
            hardware=machine,
            rows=rows,
        )
        write_json(options.json, result)
        print(f'written: {options.json}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/engines.py`."""
    run_command(_parser(), _command, arguments)
