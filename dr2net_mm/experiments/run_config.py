"""From a task, a row and a seed to the config of one run."""

import math
from typing import Any, Dict, List

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from dr2net_mm.analysis.memory.command import backbone_memory
from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    conventional_backbone,
    reversible_backbone,
)
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError

from .rows import Row
from .tasks import Task

#: Parts of a config that a record keeps.
RECORDED = (
    'model',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'randomness',
)


def run_config(task: Task, row: Row, seed: int, iters_per_epoch: int) -> Config:
    """Return the config of one run of ``tools/train.py``.

    It is the task's config with the row's backbone and hooks. Every iteration is
    logged; the reversible gradients are measured in the first and in the last one;
    the split that is reported is evaluated once, at the end.

    Args:
        task: The task.
        row: The way of finetuning.
        seed: Of all random numbers.
        iters_per_epoch: Batches in an epoch.

    Raises:
        UserError: If the task's config cannot be read.
    """
    config = load_config(task.config)
    config.merge_from_dict(dict(task.run))
    epochs = config.train_cfg.max_epochs
    iterations = epochs * iters_per_epoch
    config.model.backbone = row_backbone(task, row, config.model.backbone.to_dict())
    config.custom_hooks = _hooks(task, row, iterations)
    config.train_cfg.val_interval = epochs
    config.default_hooks.logger = dict(type='LoggerHook', interval=1)
    # The weights are not kept: a run that was interrupted starts again.
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=epochs + 1)
    config.default_hooks.checkpoint.update(save_last=False)
    config.randomness = dict(seed=seed)
    return config


def iterations_of_epoch(task: Task) -> int:
    """Count the batches in an epoch of the task's training data.

    Raises:
        UserError: If the data is not there.
    """
    config = load_config(task.config)
    try:
        with DefaultScope.overwrite_default_scope(config.default_scope):
            dataset = DATASETS.build(config.train_dataloader.dataset)
    except FileNotFoundError as error:
        commands = ' and '.join(task.preparation)
        raise UserError(
            f'the data of {task.name} is not there ({error.filename}); run {commands}'
        ) from None
    return math.ceil(len(dataset) / config.train_dataloader.batch_size)


def row_backbone(task: Task, row: Row, backbone: Dict[str, Any]) -> Dict[str, Any]:
    """Return the arguments of a row's backbone, from those of the task's."""
    if not row.pretrained:
        backbone = {**backbone, **task.scratch}
    if row.network == 'frozen':
        return conventional_backbone({**backbone, **task.frozen})
    if row.network == 'conventional':
        return conventional_backbone(backbone)
    alpha, beta = row.start
    return reversible_backbone(
        backbone, alpha=alpha, beta=beta, arithmetic=row.arithmetic
    )


def _hooks(task: Task, row: Row, iterations: int) -> List[Dict[str, Any]]:
    hook = row.hook(round(task.moving_share * iterations))
    if hook is None:
        return []
    measured = dict(
        type='ReversibilityHook',
        interval=max(iterations - 1, 1),
        samples=4,
        # In float arithmetic a large error is what the row shows.
        warn_above=None,
    )
    return [hook, measured]


def counted_memory(row: Row, config: Config) -> Dict[str, int]:
    """Count the bytes of activations of one training step of a row's backbone, counted.

    The larger one of those at the start and at the end of (alpha, beta).

    Returns:
        ``kept_bytes`` after the forward pass and ``peak_bytes``.
    """
    backbone = config.model.backbone.to_dict()
    for key in ('pretrained', 'init_cfg'):
        backbone.pop(key, None)
    size, batch = tuple(config.image_size), config.train_dataloader.batch_size
    if row.network == 'frozen':
        found = [_frozen_memory(backbone, size, batch)]
    elif row.network == 'conventional':
        found = backbone_memory(backbone, size, batch, modes=['conventional'])
    else:
        found = [
            backbone_memory(
                backbone, size, batch, modes=['dr2'], alpha=alpha, beta=beta
            )[0]
            for alpha, beta in {row.start, row.end or row.start}
        ]
    return {
        key: max(int(memory[key]) for memory in found)
        for key in ('kept_bytes', 'peak_bytes')
    }


def _frozen_memory(backbone: Dict[str, Any], size: Any, batch: int) -> Dict[str, int]:
    model = build_backbone(backbone).to('meta')
    memory = measure_step(model, torch.empty(batch, 3, *size, device='meta'))
    return dict(kept_bytes=memory.kept_bytes, peak_bytes=memory.peak_bytes)
