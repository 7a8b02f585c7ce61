"""Make a checkpoint of a training run ready to be given to others.

Keeps the weights, alpha and beta, and meta (text of the config, classes, epoch and
iteration, versions); drops the optimizer, schedules, logged values and the second set
of weights of an EMAHook. The name ends in 8 digits of the file's SHA-256. The file is
written whole or not at all, and read back.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'publish_model.py'
EXAMPLES = """
examples:
  # writes dino_dr2-swin-l-1f2e3d4c.pth
  python tools/model_converters/publish_model.py work_dirs/a/epoch_12.pth dino_dr2-swin-l.pth

  # of a run with an EMAHook: the weights of the last iteration, not their average
  python tools/model_converters/publish_model.py work_dirs/a/epoch_12.pth dino.pth --weights last

The config in meta is the text of the run's config, with its paths. The file is used as
any checkpoint: tools/test.py, load_from, init_cfg. To use the weights without
dr2net_mm see export_plain.py.
exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.checkpoints.publish import WEIGHTS
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import add_force_argument

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    parser.add_argument('source', help='checkpoint that tools/train.py saved')
    parser.add_argument(
        'target', help='name to write; the hash is put in front of its ".pth"'
    )
    parser.add_argument(
        '--weights',
        choices=WEIGHTS,
        default='averaged',
        help='of a run with an EMAHook: the average, which is what its validation '
        'measured, or the last iteration (default: %(default)s)',
    )
    add_force_argument(parser)
    return parser


def publish(args: argparse.Namespace) -> None:
    """Write the checkpoint, and print what was done."""
    from dr2net_mm.checkpoints.publish import publish_file
    from dr2net_mm.cli.converter_arguments import print_notes

    path, notes = publish_file(args.source, args.target, args.weights, args.force)
    print_notes(notes)
    print(f'wrote {path}')


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), publish, argv)


if __name__ == '__main__':
    sys.exit(main())
