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

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Command line of the tool."""
    from dr2net_mm.cli.converter_arguments import add_file_arguments

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file_arguments(parser)
    parser.add_argument(
        '--backbone-only',
        action='store_true',
        help='names of the backbone alone, without "backbone." and a classifier',
    )
    parser.add_argument(
        '--to-original',
        action='store_true',
        help="the other direction: SlowFast's names. A network must be at (alpha, "
        'beta) = (0, 1)',
    )
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.converter_arguments import convert_file
    from dr2net_mm.cli.run_tool import run_tool
    from dr2net_mm.import_weights import mm_to_slowfast_rev, slowfast_rev_to_mm

    args = build_parser().parse_args(argv)
    if args.to_original:
        convert, key = mm_to_slowfast_rev, 'model_state'
    else:
        convert = partial(slowfast_rev_to_mm, backbone_only=args.backbone_only)
        key = 'state_dict'
    return run_tool(
        PROGRAM,
        lambda: convert_file(PROGRAM, args.source, args.target, convert, key),
    )


if __name__ == '__main__':
    sys.exit(main())
