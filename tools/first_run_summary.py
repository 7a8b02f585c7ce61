"""Say what a finished training of `tools/first_run.sh` shows.

Prints loss and validation mAP, memory of one training step, the error of the
reversible gradients and where the files lie, and draws detections on a validation
image. Its argument is the work dir of the training.
"""

from __future__ import annotations

import json
import sys
import warnings
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmengine.config import Config
from mmengine.logging import MMLogger

from dr2net_mm.cli.command import run_command, tool_parser
from dr2net_mm.cli.output import format_table
from dr2net_mm.first_runs.finished_training import Training, find_training

MEGABYTE = 2**20
SHOWN_COEFFICIENTS = ((1.0, 0.1), (0.3, 0.7))


def describe_log(log: list[dict]) -> str:
    """Describe loss, coefficients and mAP at the start and end of a training."""
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
                'mAP is close to zero: a few hundred iterations are few where weights '
                'begin at random; more epochs raise it'
            )
    return '\n'.join(said)


def describe_memory(backbone: dict, image_size: tuple, batch: int) -> str:
    """Measure one training step of the backbone in three modes."""
    from dr2net_mm.analysis.memory.command import backbone_memory

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


def pretrained_backbone(backbone: dict, config: Config) -> dict:
    """Return the backbone with the weights that the training began with.

    Only timm's backbones name them by an argument; others are returned as they are.
    """
    init = config.model.backbone.get('init_cfg')
    if init is None or not backbone['type'].endswith('TimmBackbone'):
        return backbone
    return dict(backbone, pretrained=init.checkpoint)


def describe_gradient_error(backbone: dict, image_size: tuple) -> str:
    """Measure the error of the reversible gradients, in both arithmetics."""
    from dr2net_mm.analysis.gradients.command import gradient_error_grid

    weights = 'pretrained' if 'pretrained' in backbone else 'random'
    options = backbone.get('dual_residual') or {}
    own = (options.get('alpha', 1.0), options.get('beta', 0.1))
    rows = [
        row
        for alpha, beta in dict.fromkeys((own, *SHOWN_COEFFICIENTS))
        for row in gradient_error_grid(backbone, [alpha], [beta], image_size=image_size)
    ]
    table = format_table(
        ('arithmetic', 'alpha', 'beta', 'relative gradient error'),
        [
            (
                row['arithmetic'],
                f'{row["alpha"]:g}',
                f'{row["beta"]:g}',
                f'{row["relative_error"]:.1e}' if row['relative_error'] else '0',
            )
            for row in rows
        ],
    )
    return (
        f'{table}\n(reversible against stored activations, {weights} weights, fp32; '
        'the error of\nfloat arithmetic grows with depth)'
    )


def draw_detections(config: Config, checkpoint: Path, picture: Path) -> str:
    """Draw the best-scored boxes on one validation image; returns what is drawn."""
    from mmdet.apis import inference_detector, init_detector
    from PIL import Image

    from dr2net_mm.first_runs.detection_picture import detection_picture
    from dr2net_mm.launch.prepare import prepare_mmengine

    prepare_mmengine()
    dataset = config.val_dataloader.dataset
    root = Path(dataset.data_root)
    file_name, truth = typical_image(root / dataset.ann_file)
    image_file = root / dataset.data_prefix.img / file_name
    model = init_detector(config, str(checkpoint), device='cpu')
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
    """Return file name and boxes of the image with the median object count."""
    coco = json.loads(annotation_file.read_text())
    boxes: dict[int, list[tuple]] = {image['id']: [] for image in coco['images']}
    for item in coco['annotations']:
        x, y, width, height = item['bbox']
        if not item['iscrowd']:
            boxes[item['image_id']].append((x, y, x + width, y + height))
    images = sorted(coco['images'], key=lambda image: len(boxes[image['id']]))
    chosen = images[len(images) // 2]
    return chosen['file_name'], boxes[chosen['id']]


def describe_files(training: Training, picture: Path) -> str:
    """Describe where things lie and what to type next."""
    config = training.config_file
    return f"""Files
  checkpoint  {training.checkpoint}
  config      {config}
  log         {training.log_file}
  picture     {picture}

What to type next
  . tools/setup_env.sh
  python tools/test.py {config} {training.checkpoint}
  bash tools/first_run.sh --work-dir work_dirs/longer \\
      --cfg-options train_cfg.max_epochs=12
  bash tools/first_run.sh --example dino
  python tools/analysis/memory.py --backbone swin-t --img-size 1024 --batch 2
Your own config: three lines, see README.md."""


def summarize(options: Namespace) -> None:
    """Print the summary and draw the picture."""
    from dr2net_mm.analysis.subjects.backbones import config_backbone

    warnings.filterwarnings('ignore')
    # Every network that is measured would tell of the weights that it took.
    MMLogger.get_current_instance().setLevel('WARNING')
    training = find_training(options.work_dir)
    config = Config.fromfile(str(training.config_file))
    backbone = config_backbone(str(training.config_file))
    size = tuple(config.image_size)
    picture = options.work_dir / 'detections.png'
    print(describe_log(training.log))
    init = config.model.backbone.get('init_cfg')
    if init is not None:
        print(f'finetuned from {init.checkpoint}')
    elif config.load_from is None:
        print('The weights were random at the start; nothing pretrained was used.')
    print()
    batch = config.train_dataloader.batch_size
    print(describe_memory(backbone, size, batch), end='\n\n')
    started = pretrained_backbone(backbone, config)
    print(describe_gradient_error(started, size), end='\n\n')
    drawn = draw_detections(config, training.checkpoint, picture)
    print(f'Picture of {drawn}', end='\n\n')
    print(describe_files(training, picture))


def main() -> None:
    """Run the tool."""
    parser = tool_parser('first_run_summary.py', __doc__)
    parser.add_argument('work_dir', type=Path, help='where the training wrote')
    run_command(parser, summarize)


if __name__ == '__main__':
    main()
