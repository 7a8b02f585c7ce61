"""Check a folder of A2D-Sentences, JHMDB-Sentences or Ref-YouTube-VOS before training.

Looked at are the tables, and of every video that has a sentence: can its frames be
decoded, can each annotation be read, do masks fit their frames, does a sentence mean
an instance that is there, is it short enough for the text encoder. Everything that is
wrong is listed. What the data sets themselves leave out (videos of
a2d_missed_videos.txt, frames without the instance of a sentence) is not counted.

How long a sentence may be is read from the text encoder of --config. Without it
--max-tokens decides, 512 as RoBERTa takes; without --tokenizer every byte counts as a
token, which is never too few.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from multiprocessing import get_context

from mmengine.utils import ProgressBar

from dr2net_mm.cli.command import OneLineParser, positive_int, run_parsed, tool_parser
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.tasks.referring_segmentation.datasets.folder_check import PARTS, Part
from dr2net_mm.tasks.referring_segmentation.models.sentence_limit import SentenceLimit

EXAMPLES = """
examples:
  python tools/data/check_rvos.py a2d data/a2d_sentences --workers 16
  python tools/data/check_rvos.py ref-youtube-vos data/refer_youtube_vos
  python tools/data/check_rvos.py a2d data/a2d_sentences --config my_config.py

exit codes: 0 everything can be used, 1 something cannot, 2 bad input
"""
SOME_FAIL = 1
ROBERTA_TOKENS = 512

_parts: list[Part] = []


def check_part(number: int) -> list[str]:
    """Return the problems of a part; runs in this process or a forked one."""
    return _parts[number].check()


def limit_of(args: Namespace) -> SentenceLimit:
    """Return how long a sentence may be, from the config or the options."""
    from dr2net_mm.tasks.referring_segmentation.models.text_encoder import (
        sentence_limit,
    )

    if args.config is None:
        found = sentence_limit(config={}, tokenizer=args.tokenizer)
        return found._replace(max_tokens=args.max_tokens or ROBERTA_TOKENS)
    if args.tokenizer or args.max_tokens:
        raise UserError('give --config, or --tokenizer and --max-tokens, not both')
    encoder = load_config(args.config).get('model', {}).get('text_encoder')
    if encoder is None:
        raise UserError(
            f'{args.config} has no model.text_encoder; give the config of an MTTR, or '
            '--tokenizer and --max-tokens'
        )
    return sentence_limit(**encoder)


def check(kind: str, folder: Path, workers: int, limit: SentenceLimit) -> int:
    """Check everything and report; returns how many videos have a problem."""
    if workers < 0:
        raise UserError(f'--workers {workers}; give 0 or more')
    if not folder.is_dir():
        raise UserError(f'{folder} is no folder')
    _parts[:] = PARTS[kind](str(folder), limit.problem)
    bar, wrong = ProgressBar(len(_parts)), []
    numbers = range(len(_parts))
    # Forked processes share the tables.
    pool = get_context('fork').Pool(workers) if workers else None
    try:
        results = pool.imap(check_part, numbers) if pool else map(check_part, numbers)
        for part, problems in zip(_parts, results):
            wrong += [(part.name, problem) for problem in problems]
            bar.update()
    finally:
        if pool is not None:
            pool.terminate()
    print()
    for name, problem in wrong:
        print(f'{name}: {problem}')
    count = len({name for name, _ in wrong})
    print(f'{count} of {len(_parts)} videos have a problem')
    return count


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = tool_parser('check_rvos.py', __doc__, EXAMPLES)
    parser.add_argument('dataset', choices=list(PARTS), help='which data set it is')
    parser.add_argument('folder', type=Path, help='data_root of the data set')
    parser.add_argument(
        '--workers', type=int, default=4, help='processes that read (default: 4)'
    )
    parser.add_argument(
        '--config', help='of the run; its text encoder says how long a sentence may be'
    )
    parser.add_argument(
        '--tokenizer', help='folder, name or tokenizer.json (default: bytes)'
    )
    parser.add_argument(
        '--max-tokens',
        type=positive_int,
        metavar='N',
        help=f'longest sentence (default: {ROBERTA_TOKENS})',
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    counts: list[int] = []

    def body(args: Namespace) -> None:
        counts.append(check(args.dataset, args.folder, args.workers, limit_of(args)))

    status = run_parsed(build_parser(), body, argv)
    return status or (SOME_FAIL if counts[0] else 0)


if __name__ == '__main__':
    sys.exit(main())
