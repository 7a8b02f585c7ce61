"""Turn a dual-residual network that ended at (alpha, beta) = (1, 0) into a plain one.

The checkpoint that is written loads in mmdet or mmaction without dr2net_mm, and the
config beside it builds the network from mmdet's or mmaction's own SwinTransformer,
SwinTransformer3D or VisionTransformer. Outputs are the same but for the rounding of
exact arithmetic (2**-17 at every branch): the tool runs both backbones on a random
input, prints the largest difference, and writes nothing if it is too large.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'export_plain.py'
EXAMPLES = """
examples:
  # train to (1, 0): in the config
  #   custom_hooks = [dict(type='Dr2CoefficientHook', start=(1.0, 0.1), end=(1.0, 0.0),
  #                        monotone=False, end_epoch=10)]
  python tools/train.py my_config.py

  # writes plain.pth, and plain.py to use it with
  python tools/model_converters/export_plain.py my_config.py work_dirs/a/epoch_12.pth plain.pth

  # the backbone alone, of a model whose head is of dr2net_mm too
  python tools/model_converters/export_plain.py my_config.py epoch_12.pth backbone.pth --backbone-only

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import add_force_argument, add_run_arguments

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    add_run_arguments(parser, 'checkpoint to write (.pth)')
    parser.add_argument(
        '--config-target',
        help='config to write (default: the target with .py in place of .pth)',
    )
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help='export the backbone without the rest of the model: its names lose '
        '"backbone.", and the config holds model.backbone only',
    )
    add_force_argument(parser)
    return parser


def export(args: argparse.Namespace) -> None:
    """Write the checkpoint and the config, and print what was done."""
    from dr2net_mm.cli.converter_arguments import print_notes
    from dr2net_mm.export.plain_file import export_plain_file

    print_notes(
        export_plain_file(
            args.config,
            args.checkpoint,
            args.target,
            args.config_target,
            args.backbone_only,
            args.force,
        )
    )


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), export, argv)


if __name__ == '__main__':
    sys.exit(main())
