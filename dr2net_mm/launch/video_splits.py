"""Videos that a config trains on and validates on too."""

import os
from typing import Any, Dict, Set

from mmengine.config import Config

from dr2net_mm.launch.config_checks import datasets_in, is_local, is_remote, joined
from dr2net_mm.rank import launcher_rank
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    load_annotations,
    load_video_names,
    summarize,
    without_prefix,
)


def report_shared_videos(cfg: Config) -> None:
    """Print how many videos training and validation share, if any; rank 0 does it.

    mmaction's format has a file a subset, so no single file shows it.

    Args:
        cfg: Config of a run; its ``VideoLocalizationDataset``s are compared.

    Raises:
        DataFileError: If an annotation file cannot be read.
    """
    if not cfg.get('check_data', True) or launcher_rank() != 0:
        return
    trained, validated = (_videos(cfg, mode) for mode in ('train', 'val'))
    shared = sorted(trained & validated)
    if shared:
        print(
            f'{len(shared)} of {len(validated)} videos of validation are trained on '
            f'too: {summarize(shared)}; results on them say nothing about other '
            'videos. Take them out of one subset, or list them in blocked_videos',
            flush=True,
        )


def _videos(cfg: Config, mode: str) -> Set[str]:
    found: Set[str] = set()
    loader: Dict[str, Any] = cfg.get(f'{mode}_dataloader') or {}
    for dataset in datasets_in(loader.get('dataset')):
        path = joined(dataset.get('data_root') or '', dataset.get('ann_file') or '')
        kind = str(dataset.get('type')).split('.')[-1]
        if kind != 'VideoLocalizationDataset' or is_remote(dataset):
            continue
        if not is_local(path) or not os.path.isfile(path):
            continue
        subset = dataset.get('subset', 'training')
        names = {
            name
            for name, video in load_annotations(path).items()
            if video.belongs_to(subset)
        }
        blocked = load_video_names(dataset.get('blocked_videos'))
        found |= names - {without_prefix(name) for name in blocked} - blocked
    return found
