"""Test a checkpoint with the metrics of an MMDetection or MMAction2 config."""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

EXAMPLES = """
examples:
  # metrics of the config's test set
  python tools/test.py my_config.py work_dirs/a/epoch_12.pth

  # also keep the predictions and draw them on the images
  python tools/test.py my_config.py work_dirs/a/epoch_12.pth --out predictions.pkl --show-dir drawn

alpha and beta are those stored in the checkpoint.
exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.launch.launch import add_common_arguments

    parser = argparse.ArgumentParser(
        prog='test.py',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='checkpoint file, or its URL')
    parser.add_argument('--out', help='write the predictions to this .pkl file')
    parser.add_argument(
        '--show', action='store_true', help='show each prediction in a window'
    )
    parser.add_argument(
        '--show-dir',
        help='draw predictions on the images and save them in this folder below the '
        "run's time-stamped folder in the work dir",
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds per image with --show'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_model and tta_pipeline of the config, or '
        'horizontal flipping for mmdet',
    )
    add_common_arguments(parser)
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.run_tool import run_tool
    from dr2net_mm.launch.launch import (
        build_runner,
        dump_predictions,
        parse,
        testing_config,
    )

    args = parse(build_parser(), argv)
    iterations: List[bool] = []

    def test() -> None:
        cfg = testing_config(args)
        runner = build_runner(cfg, 'test', lambda: iterations.append(True))
        if args.out is not None:
            dump_predictions(runner, args.out)
        runner.test()

    return run_tool('test.py', test, lambda: len(iterations), args.traceback)


if __name__ == '__main__':
    from dr2net_mm.launch.distributed import leave

    leave(main())
