"""Train a model from an MMDetection or MMAction2 config."""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

EXAMPLES = """
examples:
  # the small example of this repository
  python tools/train.py configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py

  # two epochs into another folder, then go on from the last checkpoint
  python tools/train.py my_config.py --work-dir work_dirs/a --cfg-options train_cfg.max_epochs=2
  python tools/train.py my_config.py --work-dir work_dirs/a --resume

  # eight GPUs
  bash tools/dist_train.sh my_config.py 8 --auto-scale-lr

exit codes: 0 done, 2 bad input (one line on stderr), 130 interrupted (Ctrl-C),
143 and 138 stopped by SIGTERM and SIGUSR1 after saving a checkpoint for --resume
"""  # noqa: E501


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    from dr2net_mm.launch.launch import add_common_arguments

    parser = argparse.ArgumentParser(
        prog='train.py',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file of the run')
    parser.add_argument(
        '--amp', action='store_true', help='train in mixed precision (GPU only)'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by total batch size / '
        'auto_scale_lr.base_batch_size of the config',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from CHECKPOINT, or from the last one in the work dir if there is '
        'one, to the same numbers as without the interruption: weights, optimizer, '
        'schedules, alpha and beta, order and augmentation of the data',
    )
    add_common_arguments(parser)
    return parser


def main(argv: Optional[List[str]] = None) -> int:
    """Run the tool; returns its exit code."""
    from dr2net_mm.cli.run_tool import run_tool
    from dr2net_mm.launch.launch import build_runner, parse, training_config
    from dr2net_mm.launch.work_dir_lock import owned

    args = parse(build_parser(), argv)
    iterations: List[bool] = []

    def train() -> None:
        cfg = training_config(args)
        with owned(cfg.work_dir):
            runner = build_runner(cfg, 'train', lambda: iterations.append(True))
            runner.train()

    return run_tool('train.py', train, lambda: len(iterations), args.traceback)


if __name__ == '__main__':
    from dr2net_mm.launch.distributed import leave

    leave(main())
