"""Write rooms in the text format of S3DIS, to try the whole path without the data set.

Walls, floor, ceiling, doors, windows, tables, chairs and more, at random places; points
on their surfaces with noise in place and color. Colors of several classes are alike on
purpose. An area depends on its number and on --seed, so the same command writes the
same files. tools/data/s3dis.py reads them as it reads S3DIS.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data.rooms import write_areas
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_text import AREAS

EXAMPLES = """
examples:
  python tools/data/rooms.py --out data/rooms/raw
  python tools/data/rooms.py --out data/raw_rooms --areas 1 5 --rooms 2 --density 300
"""


def write(options) -> None:
    """Write the areas, with a progress bar."""
    if not set(options.areas) <= set(AREAS):
        raise UserError(f'--areas {options.areas}; S3DIS has the areas {list(AREAS)}')
    for name in ('rooms', 'density'):
        value = getattr(options, name)
        if not value > 0:
            raise UserError(f'--{name} {value}; give more than 0')
    bar = ProgressBar(len(options.areas) * options.rooms, bar_width=30, file=sys.stderr)
    points = write_areas(
        options.out,
        options.areas,
        options.rooms,
        options.density,
        options.seed,
        bar.update,
    )
    print(
        f'\n{options.out}: {len(options.areas)} areas of {options.rooms} rooms, '
        f'{points:,} points'
    )


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('rooms.py', __doc__, EXAMPLES)
    parser.add_argument('--out', type=Path, required=True, help='folder of the areas')
    parser.add_argument(
        '--areas',
        type=int,
        nargs='+',
        default=[1, 2, 3, 5],
        help='numbers of the areas (default: 1 2 3 5)',
    )
    parser.add_argument(
        '--rooms', type=int, default=6, help='rooms of an area (default: 6)'
    )
    parser.add_argument(
        '--density',
        type=float,
        default=500.0,
        help='points a square meter (default: 500)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the rooms (default: 0)')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(build_parser(), write, argv)


if __name__ == '__main__':
    sys.exit(main())
