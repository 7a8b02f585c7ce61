"""Say what a finished training of `tools/first_run.sh` shows.

Prints loss and validation mAP, memory of one training step, the error of the
reversible gradients and where the files lie, and draws detections on a validation
image. Its argument is the work dir of the training.
"""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

from dr2net_mm.analysis.command_line import OneLineParser, format_table, run_command
from dr2net_mm.utils.errors import UserError

MEGABYTE = 2**20
SHOWN_COEFFICIENTS = ((1.0, 0.1), (0.3, 0.7))


class Training(NamedTuple):
    """What a training left in its work dir."""

    config_file: Path
    checkpoint: Path
    log: list[dict]


def find_training(work_dir: Path) -> Training:
    """Find config, last checkpoint and logged scalars of the latest training.

    Raises:
        UserError: if one of them is not there.
    """
    configs = sorted(work_dir.glob('*.py'), key=lambda file: file.stat().st_mtime)
    pointer = work_dir / 'last_checkpoint'
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not (configs and logs and pointer.is_file()):
        raise UserError(
            f'{work_dir} holds no finished training; run tools/first_run.sh'
        )
    # The pointer is written with the folder's name of then; it may have moved.
    checkpoint = work_dir / Path(pointer.read_text().strip()).name
    if not checkpoint.is_file():
        raise UserError(f'checkpoint {checkpoint} is gone; run tools/first_run.sh')
    lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    return Training(configs[-1], checkpoint, lines)


def describe_log(log: list[dict]) -> str:
    """Loss, coefficients and mAP at the beginning and end of a training."""
    said = []
    steps = [line for line in log if 'loss' in line]
    if steps:
        said.append(f'loss           {steps[0]["loss"]:.2f} -> {steps[-1]["loss"]:.2f}')
    scheduled = [line for line in steps if 'dr2/alpha' in line]
    if scheduled:
        pairs = [
            f'({line["dr2/alpha"]:.2f}, {line["dr2/beta"]:.2f})'
            for line in (scheduled[0], scheduled[-1])
        ]
        said.append(f'(alpha, beta)  {pairs[0]} -> {pairs[1]}')
    scores = [line for line in log if 'coco/bbox_mAP' in line]
    if scores:
        by_epoch = ', '.join(f'{line["coco/bbox_mAP"]:.3f}' for line in scores)
        said.append(f'mAP by epoch   {by_epoch}')
        said.append(f'mAP at IoU 0.5 {scores[-1]["coco/bbox_mAP_50"]:.3f} at the end')
        if scores[-1]['coco/bbox_mAP'] < 0.01:
            said.append(
                'mAP is close to zero: a few hundred iterations from random weights '
                'are few for DINO; more epochs raise it'
            )
    return '\n'.join(said)


def describe_memory(backbone: dict, image_size: tuple, batch: int) -> str:
    """Table of one training step of the backbone in three modes."""
    from dr2net_mm.analysis.step_memory import backbone_memory

    rows = backbone_memory(backbone, image_size, batch)
    table = format_table(
        ('backbone', 'kept after forward, MB', 'peak, MB'),
        [
            (
                row['mode'],
                f'{row["kept_bytes"] / MEGABYTE:.1f}',
                f'{row["peak_bytes"] / MEGABYTE:.1f}',
            )
            for row in rows
        ],
    )
    size = 'x'.join(map(str, image_size))
    return f'{table}\n(activations; {batch} images of {size}; counted, not timed)'


def draw_detections(training: Training, picture: Path) -> str:
    """Draw the best-scored boxes on one validation image; returns what is drawn."""
    from mmdet.apis import inference_detector, init_detector
    from mmengine.config import Config
    from PIL import Image

    from dr2net_mm.analysis.detection_picture import detection_picture

    config = Config.fromfile(str(training.config_file))
    dataset = config.val_dataloader.dataset
    root = Path(dataset.data_root)
    file_name, truth = typical_image(root / dataset.ann_file)
    image_file = root / dataset.data_prefix.img / file_name
    model = init_detector(config, str(training.checkpoint), device='cpu')
    found = inference_detector(model, str(image_file)).pred_instances
    # As many boxes as there are objects, so that no score threshold flatters.
    best = found.scores.topk(min(len(truth), len(found))).indices
    boxes = found.bboxes[best].tolist()
    detection_picture(Image.open(image_file), truth, boxes).save(picture)
    return (
        f'{file_name}: left the {len(truth)} annotated objects, right the {len(boxes)} '
        'best-scored boxes'
    )


def typical_image(annotation_file: Path) -> tuple[str, list[tuple]]:
    """File name and boxes of the image with the median number of objects."""
    coco = json.loads(annotation_file.read_text())
    boxes: dict[int, list[tuple]] = {image['id']: [] for image in coco['images']}
    for item in coco['annotations']:
        x, y, width, height = item['bbox']
        if not item['iscrowd']:
            boxes[item['image_id']].append((x, y, x + width, y + height))
    images = sorted(coco['images'], key=lambda image: len(boxes[image['id']]))
    chosen = images[len(images) // 2]
    return chosen['file_name'], boxes[chosen['id']]


def summarize(options: Namespace) -> None:
    """Print the summary and draw the picture."""
    from dr2net_mm.analysis.backbones import config_backbone

    warnings.filterwarnings('ignore')
    training = find_training(options.work_dir)
    print(describe_log(training.log))
    backbone = config_backbone(str(training.config_file))
    print()
    print(describe_memory(backbone, (320, 320), 2))
    picture = options.work_dir / 'detections.png'
    drawn = draw_detections(training, picture)
    print(f'\n{picture}\n  {drawn}')


def main() -> None:
    parser = OneLineParser(prog='first_run_summary.py', description=__doc__)
    parser.add_argument('work_dir', type=Path, help='where the training wrote')
    parser.add_argument(
        '--traceback', action='store_true', help='show where an error was'
    )
    run_command(parser, summarize)


if __name__ == '__main__':
    main()
