"""Prepare S3DIS: read the text files of its rooms once and write one file an area.

Takes the folder of Stanford3dDataset_v1.2 (or its aligned version) with Area_1 to
Area_6, and writes Area_1.npz to Area_6.npz, which configs/pix4point read. Every object
file is checked: classes from file names (stairs count as clutter), six numbers a line.
A stray control byte is repaired with a message, as the data set is known to have; any
other line that cannot be read is an error that names it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.cli.output import format_table
from dr2net_mm.errors import UserError
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_areas import (
    area_file,
    load_area,
    prepare_area,
    rooms_of,
)
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_text import AREAS, CLASSES

EXAMPLES = """
examples:
  python tools/data/s3dis.py data/Stanford3dDataset_v1.2 --out data/s3dis
  python tools/data/s3dis.py data/Stanford3dDataset_v1.2 --out data/s3dis --areas 5 \\
      --overwrite
  python tools/data/s3dis.py --check data/s3dis
"""


def prepare(raw: Path, out: Path, areas: list[int], overwrite: bool) -> None:
    """Prepare the areas that are not there yet, and say what was found."""
    missing = [a for a in areas if overwrite or not area_file(out, a).is_file()]
    for area in sorted(set(areas) - set(missing)):
        print(f'{area_file(out, area)} is there already (--overwrite makes it again)')
    if not missing:
        return
    rooms = sum(len(rooms_of(raw, area)) for area in missing)
    bar = ProgressBar(rooms, bar_width=30, file=sys.stderr)
    for area in missing:
        made = prepare_area(raw, area, out, bar.update)
        print(f'\n{made.path}: {made.rooms} rooms, {made.points:,} points')
        for repair in made.repairs:
            print(f'repaired: {repair}')


def check(root: Path, areas: list[int]) -> None:
    """Read prepared areas and count the points of each class."""
    found = [area for area in areas if area_file(root, area).is_file()]
    if not found:
        raise UserError(f'{root} holds no prepared area (Area_1.npz, ...)')
    columns = []
    for area in found:
        labels = load_area(root, area).labels
        counts = np.bincount(labels, minlength=len(CLASSES))
        columns.append([*counts, len(labels)])
    rows = [
        (name, *(f'{column[i]:,}' for column in columns))
        for i, name in enumerate([*CLASSES, 'all'])
    ]
    print(format_table(('points', *(f'Area_{area}' for area in found)), rows))


def run(options) -> None:
    """Prepare, then check."""
    wrong = sorted(set(options.areas) - set(AREAS))
    if wrong:
        raise UserError(f'--areas {wrong}; S3DIS has the areas {list(AREAS)}')
    if options.check is not None:
        check(options.check, options.areas)
        return
    if options.raw is None or options.out is None:
        raise UserError('give the raw folder and --out, or --check; see --help')
    prepare(options.raw, options.out, options.areas, options.overwrite)
    check(options.out, options.areas)


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('s3dis.py', __doc__, EXAMPLES)
    parser.add_argument(
        'raw', type=Path, nargs='?', help='folder of Area_1 to Area_6, text files'
    )
    parser.add_argument('--out', type=Path, help='folder of the prepared files')
    parser.add_argument(
        '--areas',
        type=int,
        nargs='+',
        default=list(AREAS),
        help='numbers of the areas (default: all)',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='prepare again what is there'
    )
    parser.add_argument(
        '--check', type=Path, metavar='FOLDER', help='read prepared files and count'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(build_parser(), run, argv)


if __name__ == '__main__':
    sys.exit(main())
