"""Convert a checkpoint of the original VideoMAE to MMAction2's names, or back.

Takes pretraining checkpoints (their decoder is dropped) and finetuned ones (their
classifier becomes cls_head.fc_cls). Names and shapes are checked one by one: what is
unknown, missing or of another shape is an error, nothing is skipped unsaid.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'videomae_to_mmaction.py'
EXAMPLES = """
examples:
  # a pretraining checkpoint, to finetune from with configs/action_recognition
  python tools/model_converters/videomae_to_mmaction.py checkpoint-2399.pth \\
      checkpoints/videomae_vit-small-p16_sthv2-2400e.pth

  # a finetuned checkpoint, to test with tools/test.py
  python tools/model_converters/videomae_to_mmaction.py checkpoint-best.pth ssv2.pth

  # the backbone for return_feat_map=True, with its norm behind every token
  python tools/model_converters/videomae_to_mmaction.py checkpoint-2399.pth \\
      backbone.pth --backbone-only --final-norm norm

  # back to the names of the original
  python tools/model_converters/videomae_to_mmaction.py --to-original \\
      work_dirs/a/epoch_40.pth original.pth

The checkpoints are in MODEL_ZOO.md of https://github.com/MCG-NJU/VideoMAE; those for
finetuning are called "checkpoint" in its column "Pre-train".
exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import (
        add_clip_arguments,
        add_direction_argument,
        add_file_arguments,
    )

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    add_file_arguments(parser)
    add_clip_arguments(parser)
    add_direction_argument(parser, 'the original finetuning model', '(1, 0)')
    return parser


def convert(args: argparse.Namespace) -> None:
    """Convert the file in the direction that was asked for."""
    from dr2net_mm.cli.converter_arguments import convert_file
    from dr2net_mm.import_weights import mmaction_to_videomae, videomae_to_mmaction

    if args.to_original:
        convert_file(PROGRAM, args, mmaction_to_videomae, 'model')
        return
    forward = partial(
        videomae_to_mmaction,
        img_size=args.img_size,
        num_frames=args.num_frames,
        final_norm=args.final_norm,
        backbone_only=args.backbone_only,
    )
    convert_file(PROGRAM, args, forward)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), convert, argv)


if __name__ == '__main__':
    sys.exit(main())
