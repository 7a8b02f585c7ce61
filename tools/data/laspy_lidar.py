"""Get real aerial lidar with a class for every point.

The source distribution of the Python package laspy 2.7.0 (BSD-2-Clause) carries LAS
files for its tests, among them 25,408 points over 60 by 40 meters: ground, vegetation
and a building, without colors. pip fetches the archive by name; it is not installed.
configs/points_first_run trains on the west of it and validates on the east.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.cli.run_tool import run_tool
from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data.package_files import (
    download_folder,
    fetch_sdist,
    unpack_sdist,
)

REQUIREMENT = 'laspy==2.7.0'
ARCHIVE = 'laspy-2.7.0.tar.gz'
MEMBER = 'laspy-2.7.0/tests/data/file_with_both_wkt_and_geotiff_vlrs.las'
EXAMPLES = """
examples:
  python tools/data/laspy_lidar.py
  python tools/data/laspy_lidar.py --sdist laspy-2.7.0.tar.gz --out /data/lidar
"""


def prepare(sdist: Path | None, out: Path) -> None:
    """Fetch the archive and unpack the file."""
    if sdist is not None and not sdist.is_file():
        raise UserError(f'--sdist {sdist} is no file')
    archive = sdist or fetch_sdist(REQUIREMENT, ARCHIVE, download_folder(), '--sdist')
    out.mkdir(parents=True, exist_ok=True)
    for path in unpack_sdist(archive, [MEMBER], out).values():
        print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')


def build_parser() -> ArgumentParser:
    """Build the command line of the tool."""
    parser = ArgumentParser(
        prog='laspy_lidar.py',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--sdist', type=Path, help=f'the archive of {REQUIREMENT}, if you have it'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/lidar'),
        help='folder to write to (default: data/lidar)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    options = build_parser().parse_args(argv)
    return run_tool('laspy_lidar.py', lambda: prepare(options.sdist, options.out))


if __name__ == '__main__':
    sys.exit(main())
