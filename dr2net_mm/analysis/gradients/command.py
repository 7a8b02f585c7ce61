"""Error of the gradients that a reversible backward computes (Fig. 3 of the paper)."""

import argparse
import math
import sys
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from mmengine.utils import ProgressBar

from dr2net_mm.analysis.backbone_arguments import (
    backbone_parser,
    chosen_backbone,
    chosen_input,
    size_text,
)
from dr2net_mm.analysis.subjects.backbones import depths_of
from dr2net_mm.cli.command import positive_int, run_command
from dr2net_mm.cli.output import check_output, write_json
from dr2net_mm.errors import UserError

from .probe import GradientErrorProbe
from .report import MEASURES, check_picture, error_report, plot_errors

ARITHMETICS = ('exact', 'float')


def gradient_error_grid(
    backbone: Dict[str, Any],
    alphas: Sequence[float],
    betas: Sequence[float],
    arithmetics: Sequence[str] = ARITHMETICS,
    image_size: Sequence[int] = (224, 224),
    batch: int = 1,
    amp: Optional[str] = None,
    seed: int = 0,
    device: str = 'cpu',
) -> Iterator[Dict[str, Any]]:
    """Measure every pair of coefficients in every arithmetic, one after another.

    beta = 0 with float arithmetic is left out: it cannot be reversed.

    Yields:
        Dictionaries with `alpha, beta, arithmetic, dtype, depths, img_size, status`
        and the fields of
        :class:`~dr2net_mm.reversible.gradient_error.GradientError`.
    """
    for arithmetic in arithmetics:
        probe = GradientErrorProbe(
            backbone, arithmetic, image_size, batch, amp, seed, device
        )
        for alpha, beta in grid_cells(alphas, betas, arithmetic):
            error, status = probe.measure(alpha, beta)
            yield dict(
                alpha=alpha,
                beta=beta,
                arithmetic=arithmetic,
                dtype=amp or 'fp32',
                depths=depths_of(backbone),
                img_size=list(image_size),
                **error._asdict(),
                status=status,
            )


def grid_cells(
    alphas: Sequence[float], betas: Sequence[float], arithmetic: str
) -> List[Tuple[float, float]]:
    """Return the pairs of coefficients at which an arithmetic can be reversed."""
    return [(a, b) for a in alphas for b in betas if b > 0 or arithmetic == 'exact']


def strict_json(row: Dict[str, Any]) -> Dict[str, Any]:
    """Return a row without the numbers that JSON lacks: these become 'nan' or 'inf'.

    `float()` reads them back, as it does numbers.
    """
    return {
        key: str(value)
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in row.items()
    }


def _parser():
    parser = backbone_parser(
        'gradient_error.py',
        'Compare the gradients of the reversible backward with those of stored\n'
        'activations, on a grid of (alpha, beta): Fig. 3 of the paper.',
        'relative: |g - r| / |r| over all parameters; mean, max: of |g_i - r_i|.\n'
        'The weights are random, the loss is a random projection of all outputs.\n'
        'The input is 224x224 unless --img-size is given.\n'
        "JSON has one object a cell; errors that are not finite stand as 'nan' or\n"
        "'inf' (float() reads them). beta = 0 is left out in float arithmetic.\n\n"
        'Examples, one cell and the whole figure:\n'
        '  python tools/analysis/gradient_error.py --backbone swin-t \\\n'
        '      --alpha 1 --beta 0.1\n'
        '  python tools/analysis/gradient_error.py --backbone swin-t \\\n'
        '      --json errors.json --plot errors.png',
    )
    parser.set_defaults(batch=1)
    parser.add_argument(
        '--grid',
        type=positive_int,
        default=11,
        metavar='N',
        help='values of alpha and of beta from 0 to 1 (default: %(default)s)',
    )
    parser.add_argument(
        '--arithmetic',
        choices=ARITHMETICS,
        nargs='+',
        default=ARITHMETICS,
        help='default: both',
    )
    parser.add_argument(
        # Gradients in float16 would need a scaled loss.
        '--amp',
        choices=('bf16',),
        help='autocast (default: none, fp32)',
    )
    parser.add_argument(
        '--depths',
        type=positive_int,
        nargs='+',
        metavar='N',
        help='with --backbone: blocks of each stage, for example 2 2 18 2',
    )
    parser.add_argument(
        '--width',
        type=positive_int,
        metavar='N',
        help='with --backbone: channels of the first stage; fewer are faster',
    )
    parser.add_argument(
        '--measure',
        choices=tuple(MEASURES),
        default='relative',
        help='error that table and plot show (default: %(default)s)',
    )
    parser.add_argument('--plot', metavar='FILE', help='draw a heat map here (PNG, …)')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='default here: %(default)s',
    )
    return parser


def _axis(value: Optional[float], points: int) -> List[float]:
    if value is not None:
        return [value]
    if points < 2:
        raise UserError(f'--grid {points}: give at least 2, or --alpha and --beta')
    return [round(i / (points - 1), 6) for i in range(points)]


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f'--device {name}: {reason}') from error


def _command(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    check_output(options.plot, '--plot')
    check_picture(options.plot)
    _check_device(options.device)
    backbone = chosen_backbone(options, options.depths, options.width)
    backbone, size = chosen_input(options, backbone, default=224)
    alphas = _axis(options.alpha, options.grid)
    betas = _axis(options.beta, options.grid)
    arithmetics = list(dict.fromkeys(options.arithmetic))
    cells = sum(len(grid_cells(alphas, betas, kind)) for kind in arithmetics)
    if not cells:
        raise UserError(
            'beta = 0 cannot be reversed in float arithmetic; give --beta above 0, or '
            '--arithmetic exact'
        )
    name = options.backbone or options.config
    title = f'{name}, depths {tuple(depths_of(backbone))}, {size_text(size)}, batch '
    title += f'{options.batch}, {"autocast " if options.amp else ""}'
    title += options.amp or 'fp32'
    print(title)
    rows = []
    progress = ProgressBar(cells, bar_width=30, file=sys.stderr)
    for row in gradient_error_grid(
        backbone,
        alphas,
        betas,
        arithmetics,
        size,
        options.batch,
        options.amp,
        options.seed,
        options.device,
    ):
        rows.append(dict(backbone=name, **row))
        progress.update()
    print(file=sys.stderr)
    print(error_report(rows, options.measure))
    if options.json:
        write_json(options.json, [strict_json(row) for row in rows])
        print(f'written: {options.json}')
    if options.plot:
        plot_errors(rows, options.plot, options.measure, title)
        print(f'written: {options.plot}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/gradient_error.py`."""
    run_command(_parser(), _command, arguments)
