"""Export a dual-residual backbone, or a recognizer, to ONNX.

The graph is that of evaluation mode, at the alpha and beta of the checkpoint, which
are constants in it; any alpha and beta will do. Its streams are float numbers, also
where the network's are fixed-point ones (arithmetic='exact'), from which they differ
by their rounding. The size of images or videos is fixed, the batch is not. Preparing
the input (mean, std) and what follows the outputs (neck and head of a detector,
averaging of clips, softmax) are not in the graph.

The tool runs the graph with onnxruntime at two batch sizes, prints how far its outputs
are from torch's, and writes nothing if that is too far.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROGRAM = 'export_onnx.py'
EXAMPLES = """
examples:
  # feature maps of a detector's backbone, for images of 800 x 1344 pixels
  python tools/model_converters/export_onnx.py my_config.py work_dirs/a/epoch_12.pth swin.onnx --shape 800 1344

  # logits of a Video Swin recognizer for clips of 32 frames
  python tools/model_converters/export_onnx.py my_config.py best.pth recognizer.onnx --shape 32 224 224

  # a VideoMAE ViT has its own size
  python tools/model_converters/export_onnx.py my_config.py best.pth recognizer.onnx

needs: pip install onnx onnxruntime
exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser
    from dr2net_mm.cli.converter_arguments import add_force_argument, add_run_arguments
    from dr2net_mm.export.onnx_export import OPSET, TOLERANCE
    from dr2net_mm.export.onnx_file import PARTS

    parser = tool_parser(PROGRAM, __doc__, EXAMPLES)
    add_run_arguments(parser, 'file to write (.onnx)')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='SIZE',
        help='height and width of images, or frames, height and width of videos, in '
        'pixels (default: those that a ViT has positions for)',
    )
    parser.add_argument(
        '--part',
        choices=PARTS,
        help='backbone: feature maps; recognizer: logits of a clip (default: '
        'recognizer if the model has a cls_head)',
    )
    parser.add_argument(
        '--opset',
        type=int,
        default=OPSET,
        help="version of ONNX's operators (default: %(default)s)",
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=TOLERANCE,
        help='most that an output may differ from that of torch, as a share of the '
        'largest one (default: %(default)s)',
    )
    add_force_argument(parser)
    return parser


def export(args: argparse.Namespace) -> None:
    """Write the graph, and print what was done."""
    from dr2net_mm.cli.converter_arguments import print_notes
    from dr2net_mm.export.onnx_file import export_onnx_file

    print_notes(
        export_onnx_file(
            args.config,
            args.checkpoint,
            args.target,
            args.shape,
            args.part,
            args.opset,
            args.tolerance,
            args.force,
        )
    )


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(build_parser(), export, argv)


if __name__ == '__main__':
    sys.exit(main())
