"""Convert Rev-ViT and Rev-MViT checkpoints of SlowFast to our names, or back.

Our Rev-ViT has the names of MMPreTrain's RevVisionTransformer: what this writes loads
there, and MMPreTrain's own checkpoints load in our backbone without a conversion and
can be given SlowFast's names. Names and shapes are checked one by one: what is unknown,
missing or of another shape is an error, nothing is skipped unsaid.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'slowfast_rev_to_mm.py'
EXAMPLES = """
examples:
  # a published checkpoint of SlowFast's model zoo
  python tools/model_converters/slowfast_rev_to_mm.py REV_VIT_S.pyth rev-vit-s.pth

  # the backbone alone, for a detector
  python tools/model_converters/slowfast_rev_to_mm.py REV_MVIT_B_16_CONV.pyth \\
      rev-mvit-b.pth --backbone-only

  # back to SlowFast's names, from a training run of ours or MMPreTrain's checkpoint
  python tools/model_converters/slowfast_rev_to_mm.py --to-original \\
      revvit-small.pth REV_VIT_S.pyth

classifiers: head.fc of MMPreTrain for images, cls_head.fc_cls of mmaction2 for videos
(whose config has an I3DHead, see configs/rev_mvit)

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import (
        add_backbone_argument,
        add_direction_argument,
        add_file_arguments,
    )

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    add_file_arguments(parser)
    add_backbone_argument(parser)
    add_direction_argument(parser, 'SlowFast', '(0, 1)')
    return parser


def convert(args: argparse.Namespace) -> None:
    """Convert the file in the direction that was asked for."""
    from dr2net_mm.cli.converter_arguments import convert_file
    from dr2net_mm.import_weights import mm_to_slowfast_rev, slowfast_rev_to_mm

    if args.to_original:
        convert_file(PROGRAM, args, mm_to_slowfast_rev, 'model_state')
    else:
        forward = partial(slowfast_rev_to_mm, backbone_only=args.backbone_only)
        convert_file(PROGRAM, args, forward)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), convert, argv)


if __name__ == '__main__':
    sys.exit(main())
