"""Read every video of a config's data set once, before a run meets a bad one.

Of each video that has a file: can it be opened, is it as long as its annotation says,
and can its first, middle and last frame be decoded. The videos that fail are listed
and, with --out, written as a file for the option blocked_videos. What has no file, the
data set itself leaves out and logs.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.cli.command import OneLineParser, run_parsed, tool_parser
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.launch.config_checks import check_dataset_paths
from dr2net_mm.tasks.temporal_detection.datasets.video_check import (
    VideoReader,
    read_all,
)

EXAMPLES = """
examples:
  python tools/data/check_videos.py CONFIG --mode val --workers 16 --out blocked.txt

exit codes: 0 every video can be used, 1 some cannot, 2 bad input
"""
SOME_FAIL = 1
MODES = ('train', 'val', 'test')


def check(config: str, mode: str, workers: int, out: Path | None) -> int:
    """Read all videos and report; returns how many cannot be used."""
    if workers < 0:
        raise UserError(f'--workers {workers}; give 0 or more')
    cfg = load_config(config)
    check_dataset_paths(cfg, (mode,))
    options = cfg[f'{mode}_dataloader'].dataset
    reader = VideoReader(options, cfg.get('default_scope') or 'mmaction')
    failed = []
    for name, reason in read_all(reader, workers):
        if reason:
            failed.append(name)
            print(f'{name}: {reason}', flush=True)
    print(f'{len(failed)} of {len(reader.dataset)} videos cannot be used')
    if out is not None:
        with atomic_open(out, 'w', 'utf-8') as file:
            file.writelines(f'{name}\n' for name in failed)
        print(f"{out}: set blocked_videos='{out}' in the data set and in the metric")
    return len(failed)


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('check_videos.py', __doc__, EXAMPLES)
    parser.add_argument('config', help='config of a run')
    parser.add_argument(
        '--mode', choices=MODES, default='train', help='data set (default: train)'
    )
    parser.add_argument(
        '--workers', type=int, default=4, help='processes that read (default: 4)'
    )
    parser.add_argument('--out', type=Path, help='write the names to this file')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    failed = []

    def body(args: Namespace) -> None:
        failed.append(check(args.config, args.mode, args.workers, args.out))

    status = run_parsed(build_parser(), body, argv)
    return status or (SOME_FAIL if failed[0] else 0)


if __name__ == '__main__':
    sys.exit(main())
