"""VSGN on mmaction's feature files through MMEngine's runner, and on raw frames."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

LOCAL = dict(num_workers=0, persistent_workers=False)


@pytest.fixture
def feature_files(tmp_path, vsgn):
    """Three videos as mmaction's ``ActivityNetDataset`` reads them, the last empty."""
    videos = {}
    for i, segments in enumerate(([[1.0, 3.5]], [[0.5, 2.0], [4.0, 9.0]], [])):
        features = vsgn.features(1, seed=i)[0].T.numpy()
        header = ','.join(f'f{j}' for j in range(vsgn.channels))
        np.savetxt(tmp_path / f'v{i}.csv', features, delimiter=',', header=header)
        videos[f'v{i}'] = dict(
            duration_second=8.0,
            duration_frame=200,
            feature_frame=192,
            annotations=[dict(segment=s, label='Jump') for s in segments],
        )
    (tmp_path / 'videos.json').write_text(json.dumps(videos))
    return tmp_path


@pytest.fixture
def config(feature_files, vsgn):
    pipeline = [
        dict(type='LoadLocalizationFeature'),
        dict(type='GenerateLocalizationLabels'),
        dict(
            type='PackLocalizationInputs',
            keys=('gt_bbox',),
            meta_keys=(
                'video_name',
                'duration_second',
                'duration_frame',
                'feature_frame',
            ),
        ),
    ]
    return Config(
        dict(
            default_scope='mmaction',
            work_dir=str(feature_files / 'work'),
            model=dict(
                type='VSGN',
                in_channels=vsgn.channels,
                temporal_length=vsgn.length,
                channels=16,
                num_levels=2,
                tower_depth=1,
                norm_groups=4,
            ),
            train_dataloader=dict(
                batch_size=2,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    type='ActivityNetDataset',
                    ann_file=str(feature_files / 'videos.json'),
                    data_prefix=dict(video=str(feature_files)),
                    pipeline=pipeline,
                ),
                **LOCAL,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(
                optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
                clip_grad=dict(max_norm=1.0),
            ),
            log_level='ERROR',
        )
    )


def test_a_runner_trains_on_feature_files_and_resumes_the_normalizers(config):
    runner = Runner.from_cfg(config)
    runner.train()
    state = runner.model.criterion.state_dict()
    assert all(0 < float(value) < 100 for value in state.values())

    config.resume = True
    config.train_cfg.max_epochs = 2
    resumed = Runner.from_cfg(config)
    resumed.load_or_resume()
    for name, value in resumed.model.criterion.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_predictions_of_feature_files_cover_the_frames_that_have_features(config):
    runner = Runner.from_cfg(config)
    data = next(iter(runner.build_dataloader(config.train_dataloader)))
    results = runner.model.eval().val_step(data)
    assert [result['video_name'] for result in results] == ['v0', 'v1']
    for result in results:
        ends = [proposal['segment'][1] for proposal in result['proposal_list']]
        assert 0 < max(ends) <= 8.0 * 192 / 200


@pytest.mark.parametrize('reversible', [False, True])
def test_raw_frames_reach_vsgn_through_a_backbone(localizing, reversible):
    localizer = dict(
        type='VSGN',
        in_channels=localizing.channels,
        temporal_length=16,
        channels=16,
        num_levels=2,
        tower_depth=1,
        norm_groups=4,
    )
    backbone = localizing.backbone(reversible)
    model = MODELS.build(localizing.model(localizer, backbone=backbone))
    localizing.randomize(model)
    data = model.data_preprocessor(localizing.batch(), training=True)
    sum(model(**data, mode='loss').values()).backward()
    assert localizing.unused(model) == []
    results = model.eval().val_step(localizing.batch())
    assert [len(result['proposal_list']) > 0 for result in results] == [True, True]
