"""From a command line to a running MMEngine Runner, for mmdet and mmaction configs."""

import argparse
import os
from copy import deepcopy
from pathlib import Path
from typing import Callable, List, Optional

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.hooks import Hook
from mmengine.registry import METRICS, RUNNERS, DefaultScope
from mmengine.runner import Runner

from dr2net_mm.atomic_file import remove_partial_files
from dr2net_mm.checkpoints.checkpoint_file import check_checkpoint_file
from dr2net_mm.config_file import load_config
from dr2net_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from dr2net_mm.errors import UserError
from dr2net_mm.rank import launcher_rank

from .checkpoint_guard import CheckpointGuard, guard_pretrained
from .coco_checks import check_coco_datasets
from .config_checks import (
    apply_options,
    check_dataset_paths,
    check_pretrained_files,
    check_work_dir,
)
from .data_errors import name_files_in_errors
from .distributed import init_gloo_without_accelerator
from .parallel_checks import check_parallel
from .prepare import prepare_mmengine
from .resume import apply_resume, make_resumable
from .video_splits import report_shared_videos

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, named as in MMDetection."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs, checkpoints and results (default: work_dir of the '
        'config, or ./work_dirs/<config name>)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override values of the config, e.g. train_cfg.max_epochs=1 '
        'model.backbone.dual_residual.beta=0.2 "key=[a,b]" (lists and tuples in '
        'quotes, without spaces)',
    )
    parser.add_argument(
        '--launcher',
        choices=LAUNCHERS,
        default='none',
        help='what started the processes; without a GPU they talk over gloo. Set by '
        'tools/dist_*.sh and tools/slurm_*.sh (default: none)',
    )
    parser.add_argument(
        '--traceback',
        action='store_true',
        help='on bad input show the whole stack besides the one-line message (also '
        'with DR2NET_TRACEBACK=1)',
    )
    # torch.distributed.launch passes it, with a hyphen from torch 2.0 on.
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )


def parse(
    parser: argparse.ArgumentParser, argv: Optional[List[str]] = None
) -> argparse.Namespace:
    """Parse a command line; a malformed ``--cfg-options`` is a usage error."""
    try:
        args = parser.parse_args(argv)
    except ValueError as error:
        parser.error(f'--cfg-options takes KEY=VALUE pairs: {error}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def base_config(args: argparse.Namespace) -> Config:
    """Read a config, apply the common command-line options, and check it."""
    cfg = load_config(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        apply_options(cfg, args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('./work_dirs', Path(args.config).stem)
    for key in ('model', 'default_scope'):
        if cfg.get(key) is None:
            raise UserError(
                f'config {args.config!r} sets no {key}; it is not a config of mmdet or '
                'mmaction 3.x / 1.x'
            )
    check_work_dir(cfg.work_dir)
    return cfg


def training_config(args: argparse.Namespace) -> Config:
    """Return the config of a training run, checked as far as possible.

    Raises:
        UserError: for a missing file, an unknown option or an unusable combination.
    """
    cfg = base_config(args)
    for key in ('train_cfg', 'train_dataloader', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise UserError(
                f'config {args.config!r} sets no {key} and cannot be trained'
            )
    for key in ('max_epochs', 'max_iters'):
        if cfg.train_cfg.get(key, 1) < 1:
            raise UserError(
                f'train_cfg.{key}={cfg.train_cfg[key]} trains nothing; it must be at '
                'least 1 (tools/test.py evaluates a checkpoint)'
            )
    cfg.setdefault('resume', False)
    if args.amp:
        if not torch.cuda.is_available():
            raise UserError(
                '--amp needs a GPU: MMEngine has mixed precision for GPUs only; leave '
                'it out'
            )
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(
                '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in the '
                f'config, and {args.config!r} has none'
            )
        cfg.auto_scale_lr.enable = True
    check_parallel(cfg, resumes=args.resume is not None)
    make_resumable(cfg)
    apply_resume(cfg, args.resume)
    modes = ('train', 'val') if cfg.get('val_cfg') is not None else ('train',)
    check_dataset_paths(cfg, modes)
    check_pretrained_files(cfg)
    check_coco_datasets(cfg, modes)
    report_shared_videos(cfg)
    return cfg


def _show_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turn on the visualization hook, whose options differ in mmdet and mmaction."""
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise UserError(
            '--show and --show-dir need default_hooks.visualization in the config'
        )
    draws_detections = hook.type.split('.')[-1] == 'DetVisualizationHook'
    hook['draw' if draws_detections else 'enable'] = True
    if args.show:
        hook['show'] = True
        hook['wait_time'] = args.wait_time
    if args.show_dir:
        hook['test_out_dir' if draws_detections else 'out_dir'] = args.show_dir


def _augment_at_test_time(cfg: Config) -> None:
    """Wrap the model for test-time augmentation; flipping is mmdet's default."""
    if cfg.default_scope == 'mmdet':
        cfg.setdefault(
            'tta_model',
            dict(
                type='DetTTAModel',
                tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
            ),
        )
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if cfg.default_scope == 'mmdet' and 'tta_pipeline' not in cfg:
        meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
        pack = dict(
            type='PackDetInputs', meta_keys=(*meta_keys, 'flip', 'flip_direction')
        )
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        cfg.tta_pipeline = deepcopy(dataset.pipeline[:-1])
        cfg.tta_pipeline.append(dict(type='TestTimeAug', transforms=[flips, [pack]]))
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        raise UserError('--tta needs tta_model and tta_pipeline in the config')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def testing_config(args: argparse.Namespace) -> Config:
    """Return the config of a test run, checked like :func:`training_config`."""
    cfg = base_config(args)
    for key in ('test_cfg', 'test_dataloader', 'test_evaluator'):
        if cfg.get(key) is None:
            raise UserError(
                f'config {args.config!r} sets no {key} and cannot be tested'
            )
    if args.out is not None:
        if not args.out.endswith(('.pkl', '.pickle')):
            raise UserError(f'--out {args.out!r} must end in .pkl or .pickle')
        check_work_dir(os.path.dirname(args.out) or '.')
    check_checkpoint_file(args.checkpoint, 'checkpoint')
    cfg.load_from, cfg.resume = args.checkpoint, False
    check_dataset_paths(cfg, ('test',))
    check_coco_datasets(cfg, ('test',))
    if args.show or args.show_dir:
        _show_predictions(cfg, args)
    if args.tta:
        _augment_at_test_time(cfg)
    return cfg


class FirstIterationHook(Hook):
    """Hook that calls back when the first iteration begins, all built and loaded."""

    priority = 'VERY_HIGH'

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback

    def _before_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        mode: str = 'train',
    ) -> None:
        self.callback()


def build_runner(
    cfg: Config, purpose: str, on_first_iteration: Callable[[], None]
) -> Runner:
    """Build the runner for a checked config.

    Args:
        cfg: of :func:`training_config` or :func:`testing_config`.
        purpose: 'train' or 'test'.
        on_first_iteration: called before the first iteration (and every later one).
    """
    prepare_mmengine()
    name_files_in_errors(cfg.default_scope)
    timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
    if init_gloo_without_accelerator(cfg.launcher, timeout):
        # What the Runner takes by default, less the CUDA device that it adds.
        wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = cfg.get('model_wrapper_cfg') or wrapper
        cfg.model_wrapper_cfg['device_ids'] = None
    if purpose == 'train' and launcher_rank() == 0:
        remove_partial_files(cfg.work_dir)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if cfg.get('load_from'):
        guarded = purpose
        if purpose == 'train':
            guarded = 'resume' if cfg.resume else 'finetune'
        runner.register_hook(CheckpointGuard(cfg.load_from, guarded))
    if purpose == 'train' and not any(
        isinstance(hook, FiniteLossHook) for hook in runner.hooks
    ):
        runner.register_hook(FiniteLossHook())
    if purpose == 'train':
        guard_pretrained(runner.model)
    runner.register_hook(FirstIterationHook(on_first_iteration))
    return runner


def dump_predictions(runner: Runner, path: str) -> None:
    """Let a test run write its predictions to a pickle file."""
    scope = DefaultScope.get_current_instance()
    detects = scope is not None and scope.scope_name == 'mmdet'
    metric = dict(
        type='DumpDetResults' if detects else 'DumpResults', out_file_path=path
    )
    runner.test_evaluator.metrics.append(METRICS.build(metric))
