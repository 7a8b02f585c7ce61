"""Files of a plain network: a checkpoint and a config."""

import os
from pathlib import Path
from typing import List, Optional

import torch

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.checkpoints.checkpoint_file import check_paths, read_checkpoint
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError

from .plain import export_plain


def export_plain_file(
    config: str,
    source: str,
    target: str,
    config_target: Optional[str] = None,
    backbone_only: bool = False,
    force: bool = False,
) -> List[str]:
    """Write the plain network of a run, see :func:`.plain.export_plain`.

    Args:
        config: Config file of the run.
        source: Its checkpoint.
        target: Checkpoint to write.
        config_target: Config to write; by default the target's name with ``.py``.
        backbone_only: Whether to leave out the rest of the model.
        force: Whether to replace files.

    Returns:
        What was done, a sentence each.

    Raises:
        UserError: If a file cannot be used or replaced, or the network is no plain one.
    """
    config_target = config_target or str(Path(target).with_suffix('.py'))
    check_paths(source, target)
    check_paths(config, config_target)
    check_paths(target, config_target)
    for path in (target, config_target):
        if os.path.exists(path) and not force:
            raise UserError(
                f'{path!r} exists; replace it with --force, or name another'
            )
    cfg = load_config(config)
    if cfg.get('model') is None:
        raise UserError(f'config {config!r} has no model; give the config of the run')
    plain = export_plain(cfg, read_checkpoint(source), backbone_only)
    with atomic_open(target) as file:
        torch.save(plain.checkpoint, file)
    with atomic_open(config_target, 'w', encoding='utf-8') as text:
        text.write(plain.config.pretty_text)
    count = len(plain.checkpoint['state_dict'])
    return [
        *plain.notes,
        f'wrote {count} tensors to {target}',
        f'wrote the config that they fit to {config_target}',
    ]
