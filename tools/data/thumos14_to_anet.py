"""Write the annotations of THUMOS-14 in the format of ActivityNet-v1.3.

The original has a text file a class, "VIDEO START END" a line, and no durations: they
are read from the video files. The validation videos become the subset "training" and
the test videos "validation", because that is how detectors use them. "Ambiguous"
segments are kept beside the annotations, where nothing trains on them.
video_test_0000270, whose annotations are wrong, is left out as in published results.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.datasets.thumos14 import (
    WRONG_VIDEOS,
    Clip,
    read_split,
    to_activitynet,
)
from dr2net_mm.tasks.temporal_detection.datasets.video_folder import find_videos
from dr2net_mm.tasks.temporal_detection.datasets.video_localization import EXTENSIONS

EXAMPLES = """
examples:
  python tools/data/thumos14_to_anet.py --validation TH14_val/annotation \\
      --test TH14_test/annotation --videos data/thumos14/videos \\
      --out data/thumos14/annotations.json
"""


class Clips:
    """Lengths of the video files in some folders."""

    def __init__(self, folders: list[Path], videos: list[str]) -> None:
        self.folders = folders
        self.files: dict[str, str] = {}
        for folder in folders:
            self.files.update(find_videos(str(folder), videos, '', EXTENSIONS))

    def __call__(self, video: str) -> Clip:
        """Return the length of the file of a video."""
        from decord import VideoReader

        if video not in self.files:
            where = ', '.join(str(folder) for folder in self.folders)
            raise DataFileError(
                f'video {video!r} is annotated but has no file in {where}; fetch it, '
                'or leave it out with --exclude'
            )
        try:
            reader = VideoReader(self.files[video], num_threads=1)
            clip = Clip(len(reader), float(reader.get_avg_fps()))
        except Exception as error:  # decord has error classes of its own
            reason = str(error).strip().splitlines()[:1]
            raise DataFileError(
                f'{self.files[video]} cannot be read ({"".join(reason)}): fetch it '
                'again, or leave it out with --exclude'
            ) from None
        if clip.frames < 1 or clip.fps <= 0:
            raise DataFileError(f'{self.files[video]} has no frames')
        return clip


def convert(
    folders: dict[str, Path], videos: list[Path], out: Path, excluded: list[str]
) -> None:
    """Read the splits, measure their videos and write one file."""
    if not folders:
        raise UserError('give --validation, --test, or both')
    for split, folder in folders.items():
        if not folder.is_dir():
            raise UserError(f'--{split} {folder} is no folder')
    splits = {split: read_split(folder, split) for split, folder in folders.items()}
    names = sorted({name for found in splits.values() for name in found})
    content, counts = to_activitynet(
        splits, Clips(videos, names), (*WRONG_VIDEOS, *excluded)
    )
    with atomic_open(out, 'w', 'utf-8') as file:
        json.dump(content, file)
    print(
        f'{out}: {counts["videos"]} videos, {counts["segments"]} segments; left out: '
        f'{counts["excluded"]} excluded videos, {counts["only_ambiguous"]} with '
        f'ambiguous segments only; {counts["ambiguous"]} ambiguous segments are kept '
        'aside'
    )
    if counts['reversed']:
        print(
            f'{counts["reversed"]} segments do not end after they start: the data set '
            "needs wrong_segments='drop'"
        )


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('thumos14_to_anet.py', __doc__, EXAMPLES)
    parser.add_argument(
        '--validation', type=Path, help='folder of BaseballPitch_val.txt and so on'
    )
    parser.add_argument(
        '--test', type=Path, help='folder of BaseballPitch_test.txt and so on'
    )
    parser.add_argument(
        '--videos',
        type=Path,
        nargs='+',
        required=True,
        help='folders of the video files, named by the videos',
    )
    parser.add_argument(
        '--exclude', nargs='*', default=[], help='further videos to leave out'
    )
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""

    def body(args: Namespace) -> None:
        folders = dict(validation=args.validation, test=args.test)
        folders = {split: folder for split, folder in folders.items() if folder}
        convert(folders, args.videos, args.out, args.exclude)

    return run_parsed(build_parser(), body, argv)


if __name__ == '__main__':
    sys.exit(main())
