"""Choice of the checkpoint to resume from, and loops that resume exactly."""

import os
from pathlib import Path
from typing import Optional

from mmengine.config import Config, ConfigDict

from dr2net_mm.checkpoints.checkpoint_file import check_checkpoint_file
from dr2net_mm.engine.hooks.preemption_hook import INTERRUPTED_CHECKPOINT
from dr2net_mm.errors import UserError

# Of these a run can be resumed to the same numbers, and survive the writing of a
# checkpoint; a scope, as in type='mmengine.CheckpointHook', asks for MMEngine's own.
_RESUMABLE_LOOPS = {
    'EpochBasedTrainLoop': 'ResumableEpochLoop',
    'IterBasedTrainLoop': 'ResumableIterLoop',
}


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """Checkpoint that ``last_checkpoint`` names, also after the folder was moved.

    A run that was killed before it wrote that record leaves whole checkpoints, since
    they are written atomically: then the newest of them.
    """
    record = Path(work_dir) / 'last_checkpoint'
    recorded = record.read_text().strip() if record.is_file() else ''
    if not recorded:
        found = [
            *Path(work_dir).glob('epoch_*.pth'),
            *Path(work_dir).glob('iter_*.pth'),
            *Path(work_dir).glob(INTERRUPTED_CHECKPOINT),
        ]
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        return None if newest is None else str(newest)
    for candidate in (recorded, str(Path(work_dir) / Path(recorded).name)):
        if os.path.isfile(candidate):
            return candidate
    raise UserError(
        f'--resume: {str(record)!r} names {recorded!r}, which does not exist; name a '
        'checkpoint with --resume PATH'
    )


def apply_resume(cfg: Config, resume: Optional[str]) -> None:
    """Set ``resume`` and ``load_from``; 'auto' without a checkpoint starts afresh.

    Unlike MMDetection's tool, 'auto' keeps the config's ``load_from`` for that start.
    """
    if resume == 'auto':
        latest = latest_checkpoint(cfg.work_dir)
        if latest is not None:
            cfg.resume, cfg.load_from = True, latest
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    if cfg.get('load_from'):
        check_checkpoint_file(cfg.load_from, '--resume' if cfg.resume else 'load_from')


def make_resumable(cfg: Config) -> None:
    """Let a config take our loop, and our hooks for checkpoints, stops and signals.

    They replace those of MMEngine that have the default names.
    """
    if 'type' not in cfg.train_cfg and 'by_epoch' in cfg.train_cfg:
        by_epoch = cfg.train_cfg.pop('by_epoch')
        cfg.train_cfg.type = f'{"Epoch" if by_epoch else "Iter"}BasedTrainLoop'
    loop = cfg.train_cfg.get('type')
    if isinstance(loop, str):
        cfg.train_cfg.type = _RESUMABLE_LOOPS.get(loop, loop)
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    checkpoint = hooks.setdefault(
        'checkpoint', ConfigDict(type='CheckpointHook', interval=1)
    )
    if checkpoint is not None and checkpoint.get('type') == 'CheckpointHook':
        checkpoint.type = 'SafeCheckpointHook'
    custom_hooks = cfg.setdefault('custom_hooks', []) or []
    for hook in custom_hooks:
        if hook.get('type') == 'EarlyStoppingHook':
            hook.type = 'ResumableEarlyStoppingHook'
    if 'PreemptionHook' not in [hook.get('type') for hook in custom_hooks]:
        cfg.custom_hooks = [*custom_hooks, dict(type='PreemptionHook')]
