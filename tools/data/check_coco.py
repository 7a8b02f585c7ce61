"""Check annotation files in COCO's format, and the images that they name.

Give a config, and all of its COCO-format data sets are checked as the config uses them
(classes, order of labels, heads, how images are decoded). Or give an annotation file.
Every finding is listed: errors, with which a run must not start, and notes about what
mmdet leaves out without a word. tools/train.py makes the same check before a run, but
stops at the first error and opens no more than 1000 images of a set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.launch.coco_checks import (
    SAMPLED_IMAGES,
    CocoFile,
    cached_report,
    coco_files,
)
from dr2net_mm.launch.config_checks import check_dataset_paths
from dr2net_mm.tasks.detection.datasets.coco_check import evenly
from dr2net_mm.tasks.detection.datasets.coco_findings import CocoUse, Entry
from dr2net_mm.tasks.detection.datasets.coco_images import Loader, check_images

EXAMPLES = """
examples:
  # everything that a config trains, validates and tests on
  python tools/data/check_coco.py my_config.py
  # a file as an export tool wrote it, to be trained on, with its images
  python tools/data/check_coco.py train.json --images data/train --classes cat dog
  # a file for validation: CocoMetric asks for more
  python tools/data/check_coco.py val.json --evaluated

what is checked, with the consequence and the remedy of each: docs/data_checks.md
exit codes: 0 no error (there may be notes), 1 errors, 2 bad input
"""
ERRORS = 1


def files_to_check(args) -> list[CocoFile]:
    """Return the files of a config, or the one that is given."""
    if args.file.endswith('.json'):
        if not os.path.isfile(args.file):
            raise UserError(f'annotation file {args.file!r} does not exist')
        if args.images and not os.path.isdir(args.images):
            raise UserError(f'--images {args.images!r} is not a folder')
        classes = tuple(args.classes) if args.classes else None
        use = CocoUse(classes, trained=not args.evaluated, evaluated=args.evaluated)
        loader = Loader(color_type=args.color_type, imdecode_backend=args.backend)
        return [CocoFile(args.file, args.file, use, args.images, loader)]
    cfg = load_config(args.file)
    modes = [m for m in ('train', 'val', 'test') if cfg.get(f'{m}_dataloader')]
    check_dataset_paths(cfg, tuple(modes))
    files = coco_files(cfg, modes)
    if not files:
        raise UserError(f"{args.file} has no data set in COCO's format")
    return files


def with_progress(images: list[Entry]) -> Iterator[Entry]:
    """Yield the images, and report on stderr how many have been looked at."""
    from mmengine.utils import ProgressBar

    bar = ProgressBar(len(images), bar_width=30, file=sys.stderr)
    for entry in images:
        yield entry
        bar.update()
    sys.stderr.write('\n')


def check(args) -> int:
    """Check all files and print the findings; returns the number of errors."""
    errors = 0
    for file in files_to_check(args):
        report = cached_report(file)
        print(f'{file.path}: {len(report.images)} images, labels {report.labels}')
        findings = list(report.findings)
        if file.folder is not None and report.images:
            images = report.images
            if args.sample:
                images = evenly(images, SAMPLED_IMAGES)
            looked_at = with_progress(images)
            findings += check_images(looked_at, file.folder, file.loader, file.path)
            print(f'  {len(images)} image files looked at in {file.folder}')
        for finding in findings:
            print(f'  {"error" if finding.is_error else "note"}: {finding.message}')
        errors += sum(finding.is_error for finding in findings)
    print(f'{errors} errors')
    return errors


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('check_coco.py', __doc__, EXAMPLES)
    parser.add_argument('file', help='config (.py) or annotation file (.json)')
    parser.add_argument(
        '--sample',
        action='store_true',
        help=f'open {SAMPLED_IMAGES} images of a set, evenly spread, instead of all',
    )
    group = parser.add_argument_group('for an annotation file (a config says these)')
    group.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='classes of metainfo in order (default: the categories as they stand)',
    )
    group.add_argument('--images', metavar='FOLDER', help='look at the image files too')
    group.add_argument(
        '--evaluated',
        action='store_true',
        help='the file is the ground truth of CocoMetric rather than trained on',
    )
    group.add_argument(
        '--color-type',
        default='color',
        help='of LoadImageFromFile: color, grayscale, unchanged, '
        'color_ignore_orientation (default: %(default)s)',
    )
    group.add_argument(
        '--backend',
        default='cv2',
        choices=('cv2', 'pillow', 'turbojpeg', 'tifffile'),
        help='imdecode_backend of LoadImageFromFile (default: %(default)s)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    errors = []
    status = run_parsed(build_parser(), lambda args: errors.append(check(args)), argv)
    return status or (ERRORS if errors[0] else 0)


if __name__ == '__main__':
    sys.exit(main())
