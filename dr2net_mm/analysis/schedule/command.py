"""Picture and table of the path that alpha and beta take in a training run."""

import argparse
import contextlib
import copy
import io
from pathlib import Path
from typing import Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config, DictAction
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import Runner

from dr2net_mm.cli.command import OneLineParser, positive_int, run_command, tool_parser
from dr2net_mm.config_file import load_config
from dr2net_mm.engine.hooks import Dr2CoefficientHook
from dr2net_mm.errors import UserError
from dr2net_mm.launch.config_checks import apply_options
from dr2net_mm.reversible.schedule import CoefficientSchedule

_ALPHA_COLOR, _BETA_COLOR = '#1f77b4', '#d95f02'
# Rows that fit on a screen.
_TABLE_ROWS = 24


def find_hook(config: Config) -> Dr2CoefficientHook:
    """Build the coefficient hook of a config.

    Raises:
        ValueError: If the config has none or several, or it has wrong arguments.
    """
    candidates = [
        *(config.get('custom_hooks') or []),
        *(config.get('default_hooks') or {}).values(),
    ]
    found = [
        hook for hook in candidates if isinstance(hook, dict) and _is_ours(hook['type'])
    ]
    if len(found) != 1:
        raise ValueError(
            f'the config has {len(found)} hooks of type Dr2CoefficientHook; it '
            'needs exactly one, for example custom_hooks = '
            "[dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=10)]"
        )
    return HOOKS.build(copy.deepcopy(found[0]))


def schedule_of_config(
    config: Config, iters_per_epoch: Optional[int] = None
) -> Tuple[CoefficientSchedule, int, Optional[int]]:
    """Read the schedule and the length of the run from a config.

    Args:
        config: Any MMEngine config with a ``Dr2CoefficientHook``.
        iters_per_epoch: Iterations of an epoch. ``None`` builds the training
            dataset to count them, if the run is counted in epochs at all.

    Returns:
        The schedule, the iterations of the run, and the iterations of an epoch
        (``None`` for a run that has no epochs).

    Raises:
        ValueError: If something needed is missing or does not fit the run.
    """
    hook = find_hook(config)
    loop = config.get('train_cfg') or {}
    if 'max_iters' in loop:
        max_iters, iters_per_epoch = loop['max_iters'], None
    elif 'max_epochs' in loop:
        if iters_per_epoch is None:
            iters_per_epoch = _count_iters_per_epoch(config)
        max_iters = loop['max_epochs'] * iters_per_epoch
    else:
        raise ValueError(
            f'train_cfg is {loop!r}; the length of the run must stand there as '
            'max_epochs or max_iters'
        )
    schedule = hook.schedule_of_run(max_iters, iters_per_epoch)
    return schedule, max_iters, iters_per_epoch


def format_table(
    schedule: CoefficientSchedule, iters_per_epoch: Optional[int] = None
) -> str:
    """Return the change points as text, thinned out evenly where there are many."""
    points = schedule.change_points()
    shown: Sequence[int] = range(len(points))
    if len(points) > _TABLE_ROWS:
        # The first and the last three show the size of a single update.
        count = _TABLE_ROWS - 6
        middle = [3 + row * (len(points) - 6) // count for row in range(count)]
        shown = [*shown[:3], *middle, *shown[-3:]]

    header = f'{"iteration":>10}' + (f'{"epoch":>9}' if iters_per_epoch else '')
    lines = [f'{header}{"alpha":>10}{"beta":>10}']
    for step, alpha, beta in (points[row] for row in shown):
        epoch = f'{step / iters_per_epoch:9.2f}' if iters_per_epoch else ''
        lines.append(f'{step:10d}{epoch}{alpha:10.6f}{beta:10.6f}')
    if len(shown) < len(points):
        lines.append(f'({len(shown)} of {len(points)} change points)')
    return '\n'.join(lines)


def draw_schedule(
    schedule: CoefficientSchedule,
    max_iters: int,
    out: Path,
    iters_per_epoch: Optional[int] = None,
    title: str = '',
) -> None:
    """Draw alpha and beta over a run of ``max_iters`` iterations to a PNG file."""
    steps, alphas, betas = (list(column) for column in zip(*schedule.change_points()))
    steps, alphas, betas = steps + [max_iters], alphas + alphas[-1:], betas + betas[-1:]

    figure = Figure(figsize=(7, 3.8), layout='constrained')
    axes = figure.add_subplot()
    for name, values, color in (
        ('α', alphas, _ALPHA_COLOR),
        ('β', betas, _BETA_COLOR),
    ):
        axes.plot(steps, values, drawstyle='steps-post', color=color, label=name)
    if schedule.start != schedule.end:
        axes.axvline(schedule.end_step, color='gray', linestyle=':', label='end point')
    axes.set(xlim=(0, max_iters), ylim=(-0.03, 1.03))
    axes.set(xlabel='iteration', ylabel='coefficient')
    axes.grid(alpha=0.25)
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), frameon=False)
    if iters_per_epoch:
        factor = iters_per_epoch
        epochs = axes.secondary_xaxis(
            'top',
            functions=(
                lambda x: np.asarray(x) / factor,
                lambda x: np.asarray(x) * factor,
            ),
        )
        epochs.set_xlabel('epoch')
    figure.suptitle(title, fontsize='medium')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/analysis/plot_schedule.py``."""
    run_command(_parser(), _command, arguments)


def _command(options: argparse.Namespace) -> None:
    path = Path(options.config)
    config = load_config(options.config)
    apply_options(config, options.cfg_options or {})
    try:
        schedule, max_iters, iters_per_epoch = schedule_of_config(
            config, options.iters_per_epoch
        )
    except (TypeError, ValueError) as error:
        raise UserError(f'{path}: {error}') from error

    print(f'{path.name}: {schedule.order}, {schedule.policy}')
    length = f'{max_iters} iterations'
    if iters_per_epoch:
        length += f' ({max_iters // iters_per_epoch} epochs of {iters_per_epoch})'
    print(f'run: {length}')
    if iters_per_epoch and options.iters_per_epoch is None:
        print(
            '     counted from the dataset for one process; for a run on several '
            'GPUs give --iters-per-epoch'
        )
    print(format_table(schedule, iters_per_epoch))
    out = options.out or _default_out(config, path)
    draw_schedule(schedule, max_iters, out, iters_per_epoch, title=path.stem)
    print(f'picture: {out}')


def _parser() -> OneLineParser:
    parser = tool_parser(
        'plot_schedule.py',
        'Draw the coefficients alpha and beta over the training run '
        'of a config,\nand print the iterations at which they change.',
        'Example, for a run of 12 epochs on a data set that is not here:\n'
        '  python tools/analysis/plot_schedule.py \\\n'
        '      configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py \\\n'
        '      --iters-per-epoch 7330\n\n'
        'An epoch has ceil(images / (GPUs x batch size of one GPU)) iterations.',
    )
    parser.add_argument('config', help='a config that has a Dr2CoefficientHook')
    parser.add_argument(
        '--iters-per-epoch',
        type=positive_int,
        metavar='N',
        help='length of an epoch; without it the training data set is read to '
        'count. Not needed for a run that is counted in iterations',
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='PNG',
        help='picture to write (default: CONFIG_schedule.png beside the '
        'work directory)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, for example train_cfg.max_epochs=36',
    )
    return parser


def _default_out(config: Config, path: Path) -> Path:
    work_dir = Path(config.get('work_dir') or Path('work_dirs', path.stem))
    return work_dir.parent / f'{path.stem}_schedule.png'


def _is_ours(kind: object) -> bool:
    if isinstance(kind, str):
        return kind.split('.')[-1] == Dr2CoefficientHook.__name__
    return isinstance(kind, type) and issubclass(kind, Dr2CoefficientHook)


def _count_iters_per_epoch(config: Config) -> int:
    init_default_scope(config.get('default_scope') or 'mmengine')
    loader = copy.deepcopy(config.get('train_dataloader'))
    try:
        # Some datasets print while they read their annotations.
        with contextlib.redirect_stdout(io.StringIO()):
            return len(Runner.build_dataloader(loader))
    except Exception as error:  # whatever a dataset of any library may raise
        raise ValueError(
            'the training data set could not be read to count the iterations of '
            f'an epoch ({type(error).__name__}: {error}); fetch it, or give the '
            'number with --iters-per-epoch N'
        ) from error
