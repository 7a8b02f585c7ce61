"""Real films through the data pipelines of the action-recognition recipe."""

from typing import Dict

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

CONVENTIONAL = (
    'configs/action_recognition/'
    'vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'
)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Two short films, and MMAction2's list of them."""
    folder = tmp_path_factory.mktemp('videos')
    for index, frames in enumerate((40, 23)):
        path = str(folder / f'{index}.mp4')
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'mp4v'), 12, (96, 64))
        assert writer.isOpened()
        for frame in range(frames):
            image = np.full((64, 96, 3), 4 * frame, np.uint8)
            image[:, : 2 * frame + 1] = 255
            writer.write(image)
        writer.release()
    (folder / 'list.txt').write_text('0.mp4 5\n1.mp4 11\n')
    return folder


@pytest.fixture
def batch_of(configs, videos):
    """The first batch that a config's dataloader makes of the two films."""

    def first(loader: str) -> Dict[str, list]:
        init_default_scope('mmaction')
        cfg = configs.load(CONVENTIONAL)[loader]
        cfg.update(num_workers=0, persistent_workers=False, batch_size=2)
        cfg.dataset.ann_file = str(videos / 'list.txt')
        cfg.dataset.data_prefix = dict(video=str(videos))
        return next(iter(Runner.build_dataloader(cfg, seed=0)))

    return first


def test_training_decodes_a_video_once_and_augments_it_twice(batch_of):
    batch = batch_of('train_dataloader')
    labels = [int(sample.gt_label) for sample in batch['data_samples']]
    assert sorted(labels) == [5, 5, 11, 11]
    assert labels[0] == labels[1] and labels[2] == labels[3]
    for clip in batch['inputs']:
        assert clip.shape == (1, 3, 16, 224, 224) and clip.dtype == torch.uint8
    assert not torch.equal(batch['inputs'][0], batch['inputs'][1])


def test_training_clips_are_mixed_and_their_labels_smoothed(configs, batch_of):
    batch = batch_of('train_dataloader')
    init_default_scope('mmaction')
    preprocessor = MODELS.build(configs.load(CONVENTIONAL).model.data_preprocessor)
    data = preprocessor(batch, training=True)
    assert data['inputs'].shape == (4, 1, 3, 16, 224, 224)
    for sample in data['data_samples']:
        assert sample.gt_label.shape == (174,)
        assert float(sample.gt_label.sum()) == pytest.approx(1.0)


def test_validation_sees_the_center_of_one_clip(batch_of):
    batch = batch_of('val_dataloader')
    assert [clip.shape for clip in batch['inputs']] == [(1, 3, 16, 224, 224)] * 2


def test_a_test_sees_three_crops_of_two_clips(batch_of):
    batch = batch_of('test_dataloader')
    assert [clip.shape for clip in batch['inputs']] == [(6, 3, 16, 224, 224)] * 2
    first, second = batch['inputs'][0][0], batch['inputs'][0][3]
    assert not torch.equal(first, second)


def test_no_step_of_a_pipeline_mirrors_a_video(configs):
    cfg = configs.load(CONVENTIONAL)
    steps = [*cfg.train_pipeline, *cfg.val_pipeline, *cfg.test_pipeline]
    assert not any('Flip' in step.type for step in steps)
    augment = next(step for step in steps if step.type == 'ClipRandAugment')
    assert augment.policy == 'rand-m7-n4-mstd0.5-inc1'
