"""mmaction's own BMN, unchanged, behind a video backbone."""

import numpy as np
import pytest
import torch
from mmaction.models.localizers import BMN
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from dr2net_mm.backbones import Dr2SwinTransformer3D

LENGTH = 8


@pytest.fixture
def build(localizing):
    def build(reversible=True, **dual_residual):
        torch.manual_seed(0)
        options = dict(dual_residual=dual_residual) if reversible else {}
        return MODELS.build(
            localizing.model(
                bmn(),
                temporal_length=LENGTH,
                backbone=localizing.backbone(reversible, **options),
            )
        )

    return build


def bmn(**changes):
    narrow = dict(
        type='BMN',
        temporal_dim=LENGTH,
        feat_dim=16,
        boundary_ratio=0.5,
        num_samples=4,
        num_samples_per_bin=2,
        soft_nms_alpha=0.4,
        soft_nms_low_threshold=0.5,
        soft_nms_high_threshold=0.9,
        post_process_top_k=10,
        feature_extraction_interval=1,
        hidden_dim_1d=16,
        hidden_dim_2d=8,
        hidden_dim_3d=8,
    )
    return dict(narrow, **changes)


def train_step(model, localizing):
    """Loss and gradients of a step, BMN's random choice of negatives repeated."""
    torch.manual_seed(3)
    data = model.data_preprocessor(localizing.batch(), True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('reversible', [False, True])
def test_bmn_trains_end_to_end(build, localizing, reversible):
    model = build(reversible)
    assert type(model.localizer) is BMN
    assert isinstance(model.backbone, Dr2SwinTransformer3D) == reversible
    loss, _ = train_step(model, localizing)
    assert torch.isfinite(loss)
    assert localizing.unused(model) == []


def test_gradients_of_the_whole_detector_are_those_of_stored_activations(
    build, localizing
):
    results = []
    for backprop in ('reversible', 'stored'):
        model = localizing.randomize(build(alpha=0.9, beta=0.2, backprop=backprop))
        results.append(train_step(model, localizing))
    (loss, gradients), (stored_loss, stored_gradients) = results
    assert torch.equal(loss, stored_loss)
    for name, gradient in stored_gradients.items():
        # BMN keeps its sampling matrix as a parameter that is not trained.
        if name != 'localizer.sample_mask':
            assert torch.equal(gradients[name], gradient), name


def test_a_train_step_lowers_the_loss(build, localizing):
    model = build()
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=2e-3))
    losses = []
    for _ in range(8):
        torch.manual_seed(3)
        log = model.train_step(localizing.batch(), wrapper)
        losses.append(float(log['loss'].detach()))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


def test_bmn_proposes_segments_for_every_video_of_a_batch(build, localizing):
    """BMN itself answers for the first video only."""
    model = build().eval()
    batch = localizing.batch(3)
    results = model.val_step(batch)
    assert [r['video_name'] for r in results] == ['video_0', 'video_1', 'video_2']
    features = model.extract_feat(model.data_preprocessor(batch)['inputs'])
    for result, video, sample in zip(
        results, features, localizing.batch(3)['data_samples']
    ):
        with torch.no_grad():
            (alone,) = model.localizer([video.detach()], [sample], mode='predict')
        assert result['video_name'] == alone['video_name']
        assert len(result['proposal_list']) > 0
        for proposal, expected in zip(result['proposal_list'], alone['proposal_list']):
            assert proposal['score'] == pytest.approx(expected['score'], rel=1e-4)
            start, end = proposal['segment']
            # The videos of the batch last 8 seconds.
            assert 0 <= start < end <= 8
            assert proposal['segment'] == pytest.approx(expected['segment'])


def test_an_interval_of_feature_extraction_is_refused(localizing):
    """It would shorten whole videos, so that proposals come too early."""
    model = localizing.model(
        bmn(feature_extraction_interval=16), temporal_length=LENGTH
    )
    with pytest.raises(ValueError, match='feature_extraction_interval=16'):
        MODELS.build(model)


def test_channels_that_bmn_does_not_take_are_refused(localizing):
    model = MODELS.build(localizing.model(bmn(feat_dim=24), temporal_length=LENGTH))
    with pytest.raises(ValueError, match='16 channels, but BMN takes 24'):
        model(torch.zeros(1, 3, 16, 16, 16))


def test_a_length_that_bmn_does_not_take_is_refused(localizing):
    with pytest.raises(ValueError, match='temporal_length is 9, but BMN.*length 8'):
        MODELS.build(localizing.model(bmn(), temporal_length=9))
