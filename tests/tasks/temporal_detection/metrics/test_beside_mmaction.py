"""What mmaction's localizers predict, in our metric and in mmaction's."""

from pathlib import Path
from typing import Tuple

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope

from dr2net_mm.tasks.temporal_detection.metrics import ANetDetectionMetric
from tests.tasks.temporal_detection.metrics.toolbox import (
    annotation_file,
)


def bmn_output(tmp_path: Path) -> Tuple[list, list]:
    """What mmaction's BMN predicts for a video, and the data sample."""
    from mmaction.registry import MODELS
    from mmaction.structures import ActionDataSample

    init_default_scope('mmaction')
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='BMN', temporal_dim=16, boundary_ratio=0.5, num_samples=4,
            num_samples_per_bin=2, feat_dim=8, soft_nms_alpha=0.4,
            soft_nms_low_threshold=0.5, soft_nms_high_threshold=0.9,
            post_process_top_k=120, feature_extraction_interval=1, hidden_dim_1d=8,
            hidden_dim_2d=4, hidden_dim_3d=8,
        )
    ).eval()  # fmt: skip
    sample = ActionDataSample()
    sample.set_metainfo(
        dict(
            video_name='v_a',
            duration_second=100.0,
            duration_frame=160,
            feature_frame=160,
            annotations=[dict(segment=[0.0, 50.0], label='run')],
        )
    )
    with torch.no_grad():
        predicted = model([torch.randn(8, 16)], [sample], mode='predict')
    return predicted, [sample]


def test_what_bmn_predicts_is_accepted_here_and_by_mmactions_metric(tmp_path):
    from mmaction.evaluation import ANetMetric

    predicted, samples = bmn_output(tmp_path)
    path = annotation_file(tmp_path, [('a', 0, 50, 'run')])
    ours = ANetDetectionMetric(path, class_agnostic=True)
    ours.process(None, predicted)
    result = ours.evaluate(size=1)
    assert 0 < result['mAP@0.50'] <= 1

    theirs = ANetMetric(
        metric_type='AR@AN',
        dump_config=dict(out=str(tmp_path / 'ar.json'), output_format='json'),
    )
    theirs.process(dict(data_samples=samples), predicted)
    assert theirs.evaluate(size=1)['AR@100'] >= result['mAP@0.95']


def test_an_evaluator_runs_it_beside_mmactions_metric(tmp_path):
    predicted, samples = bmn_output(tmp_path)
    evaluator = Evaluator(
        [
            dict(
                type='ANetDetectionMetric',
                ann_file=annotation_file(tmp_path, [('a', 0, 50, 'run')]),
                class_agnostic=True,
                prefix='anet',
            ),
            dict(
                type='mmaction.ANetMetric',
                metric_type='AR@AN',
                dump_config=dict(out=str(tmp_path / 'ar.json'), output_format='json'),
            ),
        ]
    )
    evaluator.process(data_samples=predicted, data_batch=dict(data_samples=samples))
    result = evaluator.evaluate(1)
    assert {'anet/average_mAP', 'auc'} <= set(result)
