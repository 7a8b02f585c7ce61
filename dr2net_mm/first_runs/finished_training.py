"""Files of a finished training in its work dir, and a picture of its course."""

import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from matplotlib.figure import Figure

from dr2net_mm.errors import UserError

_LOSS_COLOR, _SCORE_COLOR = '#1f77b4', '#d95f02'


class Training(NamedTuple):
    """Files of a training, and its logged scalars."""

    config_file: Path
    checkpoint: Path
    log_file: Path
    log: List[Dict[str, float]]


def find_training(work_dir: Path, remedy: str = 'run tools/first_run.sh') -> Training:
    """Find config, last checkpoint and logged scalars of the latest training.

    Args:
        work_dir: Of the training; it may have been moved since.
        remedy: What the error tells the user to do.

    Raises:
        UserError: If one of them is not there.
    """
    configs = sorted(work_dir.glob('*.py'), key=lambda file: file.stat().st_mtime)
    pointer = work_dir / 'last_checkpoint'
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not (configs and logs and pointer.is_file()):
        raise UserError(f'{work_dir} holds no finished training; {remedy}')
    # last_checkpoint stores the original path; the folder may have moved.
    checkpoint = work_dir / Path(pointer.read_text().strip()).name
    if not checkpoint.is_file():
        raise UserError(f'checkpoint {checkpoint} is gone; {remedy}')
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    return Training(configs[-1], checkpoint, logs[-1], lines)


def values_over_training(
    log: Sequence[Dict[str, float]], key: str
) -> List[Tuple[int, float]]:
    """Return the iteration and value of every line of the log that has a key.

    A validation is logged with the number of its epoch; it belongs to the iteration
    that was logged last before it.
    """
    values, iteration = [], 0
    for line in log:
        if 'loss' in line:
            iteration = int(line['step'])
        if key in line:
            values.append((iteration, float(line[key])))
    return values


def draw_training(
    log: Sequence[Dict[str, float]], score: str, out: Path, title: str = ''
) -> None:
    """Draw the loss and a validation score over the iterations to a PNG file.

    Args:
        log: Logged scalars of a training.
        score: Key of the score.
        out: The picture.
        title: Of the picture.

    Raises:
        UserError: If no loss was logged.
    """
    losses, scores = (values_over_training(log, key) for key in ('loss', score))
    if not losses:
        raise UserError('the log has no losses to draw: is the training finished?')
    figure = Figure(figsize=(7, 3.6), layout='constrained')
    axes = figure.add_subplot()
    axes.plot(*zip(*losses), color=_LOSS_COLOR)
    axes.set(xlabel='iteration', xlim=(0, losses[-1][0]), ylim=(0, None))
    axes.set_ylabel('training loss', color=_LOSS_COLOR)
    axes.grid(alpha=0.25)
    if scores:
        right = axes.twinx()
        right.plot(*zip(*scores), color=_SCORE_COLOR, marker='o', markersize=4)
        right.set_ylim(0, 1)
        right.set_ylabel(f'{score} (validation)', color=_SCORE_COLOR)
    figure.suptitle(title, fontsize='medium')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
