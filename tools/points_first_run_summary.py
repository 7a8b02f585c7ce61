"""Say what a finished training of `tools/points_first_run.sh` shows.

Prints loss and validation scores, compares with the largest class and with nearest
neighbors in color and height, counts memory, and draws ground truth, prediction and
errors of a room. Its argument is the work dir of the run.
"""

from __future__ import annotations

import sys
import warnings
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS

import dr2net_mm  # noqa: F401
from dr2net_mm.cli.command import OneLineParser, run_command
from dr2net_mm.cli.output import format_table
from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.finished_training import (
    draw_training,
    find_training,
    values_over_training,
)

REMEDY = 'run tools/points_first_run.sh'
SCORE = 'mIoU'
#: Edge of the part of an area that is drawn: one room of tools/data/rooms.py.
ROOM = 8.0


def describe_training(log: list[dict], config: Config) -> str:
    """Loss, coefficients and mIoU of the training."""
    steps = [line for line in log if 'loss' in line]
    pairs = [f'({s["dr2/alpha"]:.2f}, {s["dr2/beta"]:.2f})' for s in steps]
    scores = [f'{value:.1f}' for _, value in values_over_training(log, SCORE)]
    start = config.model.encoder.get('init_cfg')
    weights = start['checkpoint'] if start else 'random weights'
    return (
        f'started from   {weights}\n'
        f'loss           {steps[0]["loss"]:.2f} -> {steps[-1]["loss"]:.2f}\n'
        f'(alpha, beta)  {pairs[0]} -> {pairs[-1]}\n'
        f'mIoU           {", ".join(scores)} (validation, in percent)'
    )


def compare(train, data, predicted: np.ndarray) -> str:
    """Table of the network and of what needs no network, on the validation area."""
    from dr2net_mm.first_runs.point_baselines import (
        largest_class,
        nearest_colors,
        scores_on_whole_clouds,
    )
    from dr2net_mm.tasks.point_segmentation.metrics.confusion import (
        confusion_matrix,
        scores_of,
    )

    clouds, count = data.clouds, len(data.CLASSES)
    found = scores_of(confusion_matrix(clouds[0].whole.labels, predicted, count))
    most = largest_class(train.clouds, clouds)
    near = nearest_colors(train.clouds, clouds, count)
    rows = [
        (
            name,
            f'{s.mean_iou:.1f}',
            f'{s.mean_accuracy:.1f}',
            f'{s.overall_accuracy:.1f}',
        )
        for name, s in (
            ('largest class', scores_on_whole_clouds(clouds, most, count)),
            (
                '15 nearest in color, height',
                scores_on_whole_clouds(clouds, near, count),
            ),
            ('network', found),
        )
    ]
    return format_table(('validation area', 'mIoU', 'mAcc', 'OA'), rows)


def describe_memory(config: Config) -> str:
    """Table of one training step of the network in three modes."""
    from dr2net_mm.analysis.memory.command import memory_table
    from dr2net_mm.analysis.memory.point_memory import point_memory

    batch = config.train_dataloader.batch_size
    points = config.train_dataloader.dataset.num_points
    rows = point_memory(config.model.to_dict(), batch, points)
    return (
        f'{memory_table(rows)}\n(one step of the whole network, {batch} clouds of '
        f'{points} points; counted, not timed)'
    )


def draw(data, predicted: np.ndarray, picture: Path) -> None:
    """Draw one room of the validation area without its ceiling."""
    from dr2net_mm.first_runs.cloud_picture import draw_cloud

    whole = data.clouds[0].whole
    positions = whole.positions
    # Rooms stand 9 m apart; the ceiling would hide what is below.
    shown = positions[:, 0] < ROOM
    shown &= positions[:, 1] < positions[shown, 1].min() + ROOM
    shown &= whole.labels != data.CLASSES.index('ceiling')
    chosen = np.flatnonzero(shown)[::2]
    draw_cloud(
        positions[chosen],
        whole.labels[chosen],
        predicted[chosen],
        data.CLASSES,
        picture,
        'a room of the validation area, without its ceiling',
    )


def summarize(options: Namespace) -> None:
    """Print the summary and draw the pictures."""
    warnings.filterwarnings('ignore')
    MMLogger.get_instance('summary', log_level='ERROR')
    work_dir = options.work_dir
    training = find_training(work_dir, REMEDY)
    config = Config.fromfile(str(training.config_file))
    data = DATASETS.build(config.test_dataloader.dataset)
    train = DATASETS.build(config.train_dataloader.dataset)
    written = work_dir / 'predictions' / f'{data.clouds[0].name}.npz'
    if not written.is_file():
        raise UserError(
            f'{written} is missing; set val_evaluator.predictions='
            f'{written.parent} in the training'
        )
    predicted = np.load(written)['predicted']
    print(describe_training(training.log, config), end='\n\n')
    print(compare(train, data, predicted), end='\n\n')
    print(describe_memory(config), end='\n\n')
    draw(data, predicted, work_dir / 'room.png')
    draw_training(training.log, SCORE, work_dir / 'training.png', 'rooms')
    print(f"""Files
  checkpoint   {training.checkpoint}
  predictions  {written}
  room         {work_dir / 'room.png'}
  loss curve   {work_dir / 'training.png'}

What to type next
  . tools/setup_env.sh
  python tools/test.py {training.config_file} {training.checkpoint} \\
      --cfg-options model.test_cfg.votes=4
  bash tools/points_first_run.sh --work-dir work_dirs/longer \\
      --cfg-options train_cfg.max_epochs=30""")


def main() -> None:
    """Run the tool."""
    parser = OneLineParser(prog='points_first_run_summary.py', description=__doc__)
    parser.add_argument('work_dir', type=Path, help='where the training wrote')
    parser.add_argument(
        '--traceback', action='store_true', help='show where an error was'
    )
    run_command(parser, summarize)


if __name__ == '__main__':
    main()
