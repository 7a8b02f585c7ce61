"""Convert checkpoints of MTTR's authors to our names or back, or make its backbone.

Names and shapes are checked one by one: what is unknown, missing or of another shape is
an error, nothing is skipped unsaid. With --video-swin the source is a Video Swin of
MMAction2, trained on Kinetics-400, and the target the start of MTTR's training: three
stages without output norms, the patch kernel summed over time.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'mttr_to_mm.py'
EXAMPLES = """
examples:
  # a released checkpoint, to be tested or finetuned
  python tools/model_converters/mttr_to_mm.py a2d_sentences_window_8.pth.tar mttr.pth

  # what configs/rvos starts from (backbone.* in the target)
  python tools/model_converters/mttr_to_mm.py --video-swin \\
      swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.pth \\
      pretrained/video-swin-tiny_k400_mttr.pth

  # back to the names of MTTR's authors, from a run that ended at (1, 0)
  python tools/model_converters/mttr_to_mm.py --to-original epoch_70.pth mttr.pth

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import (
        add_direction_argument,
        add_file_arguments,
    )

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    add_file_arguments(parser)
    kind = parser.add_mutually_exclusive_group()
    add_direction_argument(kind, 'MTTR', '(1, 0)')
    kind.add_argument(
        '--video-swin',
        action='store_true',
        help='the source is a Video Swin of MMAction2, the target a backbone of MTTR',
    )
    return parser


def convert(args: argparse.Namespace) -> None:
    """Convert the file in the direction that was asked for."""
    from dr2net_mm.cli.converter_arguments import convert_file
    from dr2net_mm.import_weights import mm_to_mttr, mttr_to_mm, video_swin_to_mttr

    if args.to_original:
        convert_file(PROGRAM, args, mm_to_mttr, 'model_state_dict')
    else:
        convert_file(
            PROGRAM, args, video_swin_to_mttr if args.video_swin else mttr_to_mm
        )


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), convert, argv)


if __name__ == '__main__':
    sys.exit(main())
