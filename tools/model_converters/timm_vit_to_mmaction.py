"""Inflate an image ViT of timm into MMAction2's video VisionTransformer.

A patch of an image becomes a patch of several frames that share its weights, so that
a clip of one repeated image gives the tokens of the image. Class and register tokens,
the classifier and key biases are dropped, with a line each. Any other part that
MMAction2's backbone has not is an error.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'timm_vit_to_mmaction.py'
EXAMPLES = """
examples:
  # weights that timm downloaded: a file of the hub, or torch.save(model.state_dict())
  python tools/model_converters/timm_vit_to_mmaction.py model.safetensors vit.pth

  # DINOv2 (patches of 14 pixels, positions of 518 pixels) for clips of 8 frames
  python tools/model_converters/timm_vit_to_mmaction.py dinov2.safetensors vit.pth \\
      --num-frames 8 --img-size 224

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import add_clip_arguments, add_file_arguments
    from dr2net_mm.import_weights.timm_vit import POSITIONS

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    add_file_arguments(parser)
    add_clip_arguments(parser)
    parser.add_argument(
        '--tubelet-size',
        type=int,
        default=2,
        help='frames of a patch (default: %(default)s)',
    )
    parser.add_argument(
        '--positions',
        choices=POSITIONS,
        default='tile',
        help="tile: timm's position embedding at every time, interpolated to the size "
        "of the frames; sincos: MMAction2's sine and cosine table instead (default: "
        '%(default)s)',
    )
    return parser


def convert(args: argparse.Namespace) -> None:
    """Inflate the weights of the file."""
    from dr2net_mm.cli.converter_arguments import convert_file
    from dr2net_mm.import_weights import timm_vit_to_mmaction

    inflate = partial(
        timm_vit_to_mmaction,
        img_size=args.img_size,
        num_frames=args.num_frames,
        tubelet_size=args.tubelet_size,
        positions=args.positions,
        final_norm=args.final_norm,
        backbone_only=args.backbone_only,
    )
    convert_file(PROGRAM, args, inflate)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), convert, argv)


if __name__ == '__main__':
    sys.exit(main())
