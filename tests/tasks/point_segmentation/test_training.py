"""From text files of rooms to a validation mIoU, interrupted and resumed."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

import dr2net_mm  # noqa: F401
from dr2net_mm.first_runs.data.rooms import write_areas
from dr2net_mm.launch.resume import make_resumable
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_areas import prepare_area
from tests.tasks.point_segmentation.models.toolbox import ENCODER


@pytest.fixture(scope='module')
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rooms')
    write_areas(folder / 'raw', [1, 5], 1, 30.0, 0)
    for area in (1, 5):
        prepare_area(folder / 'raw', area, folder)
    return folder


def config_of(rooms, work_dir, epochs, **changes):
    spheres = dict(
        type='S3DISDataset', data_root=str(rooms), voxel_size=0.2, radius=1.5,
        num_points=48,
    )  # fmt: skip
    pack = [dict(type='PointColorNormalize'), dict(type='PackPoints')]
    augment = [dict(type='PointRandomRotate'), dict(type='PointColorDrop', prob=0.5)]
    local = dict(batch_size=2, num_workers=0)
    config = Config(
        dict(
            default_scope='mmengine',
            work_dir=str(work_dir),
            model=dict(
                type='Pix4Point',
                encoder=dict(type='Dr2PointViT', **{**ENCODER, 'drop_path_rate': 0.2}),
                decoder=dict(type='PointDecoder', channels=16),
                head=dict(type='PointSegmentationHead', num_classes=13, channels=16),
            ),
            train_dataloader=dict(
                sampler=dict(type='SphereSampler', shuffle=True),
                drop_last=True,
                dataset=dict(
                    areas=[1],
                    spheres_per_epoch=6,
                    pipeline=augment + pack,
                    **spheres,
                ),
                **local,
            ),
            val_dataloader=dict(
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    areas=[5],
                    spheres_per_epoch=8,
                    pipeline=pack,
                    test_mode=True,
                    **spheres,
                ),
                **local,
            ),
            val_evaluator=dict(type='PointIoUMetric'),
            val_cfg=dict(type='ValLoop'),
            train_cfg=dict(
                type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=3
            ),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            custom_hooks=[dict(type='Dr2CoefficientHook', end=(0.4, 0.7), end_epoch=3)],
            randomness=dict(seed=3),
            log_level='ERROR',
            **changes,
        )
    )
    make_resumable(config)
    return config


def trained(config):
    runner = Runner.from_cfg(copy.deepcopy(config))
    runner.train()
    return runner


def scores_of(runner):
    hub = runner.message_hub
    names = ('mIoU', 'mAcc', 'OA')
    return {name: hub.get_scalar(f'val/{name}').current() for name in names}


def test_a_run_scores_the_validation_area_and_resumes_to_the_same_bits(rooms, tmp_path):
    straight = trained(config_of(rooms, tmp_path / 'straight', 3))
    found = scores_of(straight)
    assert all(0 <= value <= 100 for value in found.values()) and found['OA'] > 0
    assert (straight.model.encoder.alpha, straight.model.encoder.beta) != (1.0, 0.1)

    resumed = trained(
        config_of(
            rooms,
            tmp_path / 'resumed',
            3,
            resume=True,
            load_from=str(tmp_path / 'straight' / 'epoch_1.pth'),
        )
    )
    one, other = straight.model.state_dict(), resumed.model.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert scores_of(resumed) == found
