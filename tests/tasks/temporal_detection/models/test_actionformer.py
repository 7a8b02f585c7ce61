import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from dr2net_mm.tasks.temporal_detection.models import ActionFormer
from dr2net_mm.tasks.temporal_detection.models.actionformer.losses import (
    distance_iou_loss,
)
from dr2net_mm.tasks.temporal_detection.models.common import sigmoid_focal_loss
from dr2net_mm.tasks.temporal_detection.segments import segment_iou

LENGTH = 16
CHANNELS = 6


def config(**changes):
    narrow = dict(
        type='ActionFormer',
        in_channels=CHANNELS,
        temporal_length=LENGTH,
        channels=8,
        num_heads=2,
        windows=5,
        layers=(1, 1, 2),
        drop_path=0.0,
        head_convolutions=1,
    )
    return dict(narrow, **changes)


@pytest.fixture
def build():
    def build(**changes):
        torch.manual_seed(0)
        return MODELS.build(config(**changes))

    return build


def features_of(size=2, length=LENGTH):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, CHANNELS, length, generator=generator)


def test_losses_are_those_of_the_targets(build, localizing):
    """The two sums again, with a loop over videos and points."""
    model = build(
        classes=['run', 'jump'],
        label_smoothing=0.1,
        regression_weight=2.0,
        normalizer=dict(initial=50.0, momentum=0.9),
    )
    samples = [
        localizing.sample('a', [[0.1, 0.4], [0.3, 0.9]], [0, 1]),
        localizing.sample('b', [[0.5, 1.0]], [1]),
    ]
    logits, distances = model(features_of())
    classes, targets = model._targets(samples, logits.device)
    positives = int(classes.any(dim=-1).sum())
    assert positives > 0
    divisor = 0.9 * 50 + 0.1 * positives
    classification = regression = 0.0
    for video in range(2):
        for point in range(logits.shape[1]):
            for label in range(2):
                wanted = 0.9 * classes[video, point, label] + 0.1 / 3
                classification += sigmoid_focal_loss(
                    logits[video, point, label], wanted
                )
            if classes[video, point].any():
                regression += distance_iou_loss(
                    distances[video, point], targets[video, point]
                )
    losses = model(features_of(), samples, mode='loss')
    torch.testing.assert_close(losses['loss_cls'], classification / divisor)
    torch.testing.assert_close(losses['loss_reg'], 2 * regression / divisor)
    assert model.normalizer.value.item() == pytest.approx(divisor)


def test_features_may_come_as_mmaction_collates_them(build, localizing):
    samples = localizing.batch()['data_samples']
    stacked = build()(features_of(), samples, mode='loss')
    listed = build()(list(features_of()), samples, mode='loss')
    assert torch.equal(stacked['loss_cls'], listed['loss_cls'])
    assert torch.equal(stacked['loss_reg'], listed['loss_reg'])


@pytest.mark.parametrize('segments', [[[0.2, 0.7]], []])
def test_every_parameter_has_a_gradient_with_and_without_actions(
    build, localizing, segments
):
    model = build(position_encoding=True, drop_path=0.1)
    losses = model(features_of(1), [localizing.sample('a', segments)], mode='loss')
    sum(losses.values()).backward()
    assert localizing.unused(model) == []
    assert all(p.grad.isfinite().all() for p in model.parameters())
    if not segments:
        assert losses['loss_reg'] == 0 and losses['loss_cls'] > 0


def test_a_segment_shorter_than_any_point_sees_gives_finite_losses(build, localizing):
    sample = localizing.sample('a', [[0.5, 0.5], [0.501, 0.502]])
    losses = build()(features_of(1), [sample], mode='loss')
    assert losses['loss_reg'] == 0 and losses['loss_cls'].isfinite()


@pytest.mark.parametrize('regression_loss', ['diou', 'giou'])
def test_it_learns_the_actions_of_two_videos(localizing, regression_loss):
    """Features that show nothing but where each class is."""
    classes = ['run', 'jump', 'swim']
    torch.manual_seed(0)
    model = MODELS.build(
        config(
            classes=classes,
            channels=16,
            temporal_length=32,
            regression_loss=regression_loss,
            normalizer=dict(initial=10.0),
            layer_scale=0.1,
        )
    )
    truth = [([[0.1, 0.25], [0.4, 0.95]], [0, 1]), ([[0.2, 0.6]], [2])]
    features = torch.zeros(2, CHANNELS, 32)
    time = (torch.arange(32) + 0.5) / 32
    for video, (segments, labels) in enumerate(truth):
        for (start, end), label in zip(segments, labels):
            features[video, label, (time > start) & (time < end)] = 1.0
    samples = [localizing.sample(f'v{i}', *item) for i, item in enumerate(truth)]
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=5e-3))
    for _ in range(150):
        model.train_step(dict(inputs=features, data_samples=samples), wrapper)
    results = model.eval().val_step(dict(inputs=features, data_samples=samples))
    for video, (segments, labels) in enumerate(truth):
        assert results[video]['video_name'] == f'v{video}'
        best = results[video]['proposal_list'][: len(segments)]
        assert {p['label'] for p in best} == {classes[label] for label in labels}
        for proposal in best:
            index = labels.index(classes.index(proposal['label']))
            # The videos last 8 seconds.
            expected = 8 * torch.tensor([segments[index]])
            assert segment_iou(torch.tensor([proposal['segment']]), expected) > 0.75


def test_proposals_are_seconds_of_the_video_by_falling_score(build, localizing):
    model = build().eval()
    samples = localizing.batch()['data_samples']
    samples[1].set_metainfo(dict(duration_second=40.0))
    results = model(features_of(), samples, mode='predict')
    logits, distances = model(features_of())
    for video, result in enumerate(results):
        seconds = [8.0, 40.0][video]
        found = model.decoder(
            model.points.decode(distances)[video].detach(),
            logits[video].sigmoid().detach(),
            LENGTH,
        )
        proposals = result['proposal_list']
        assert [set(p) for p in proposals] == [{'score', 'segment'}] * len(proposals)
        scores = [p['score'] for p in proposals]
        assert scores == sorted(scores, reverse=True) and len(scores) > 1
        best = (found.segments[0] / LENGTH * seconds).tolist()
        assert proposals[0]['segment'] == pytest.approx(best, rel=1e-5)
        for proposal in proposals:
            start, end = proposal['segment']
            assert 0 <= start < end <= seconds


def test_predictions_do_not_depend_on_the_batch(build, localizing):
    model = build(classes=['run', 'jump']).eval()
    samples = localizing.batch()['data_samples']
    together = model(features_of(), samples, mode='predict')
    for video in range(2):
        (alone,) = model(
            features_of()[video : video + 1], samples[video : video + 1], mode='predict'
        )
        assert len(alone['proposal_list']) == len(together[video]['proposal_list'])
        for one, other in zip(alone['proposal_list'], together[video]['proposal_list']):
            assert one['score'] == pytest.approx(other['score'], rel=1e-4)


def test_labels_are_the_names_of_the_classes(build, localizing):
    model = build(classes=['run', 'jump', 'swim'], prior=0.3).eval()
    assert model.num_classes == 3
    (result,) = model(
        features_of(1), localizing.batch(1)['data_samples'], mode='predict'
    )
    assert {p['label'] for p in result['proposal_list']} <= {'run', 'jump', 'swim'}


def test_class_agnostic_training_takes_every_label_as_the_one_class(build, localizing):
    labeled = [localizing.sample('a', [[0.1, 0.5]], [17])]
    plain = [localizing.sample('a', [[0.1, 0.5]])]
    losses = [
        build()(features_of(1), samples, mode='loss') for samples in (labeled, plain)
    ]
    assert torch.equal(losses[0]['loss_cls'], losses[1]['loss_cls'])


def test_the_time_axis_is_that_of_the_features(build, localizing):
    """mmaction's features may leave out the last frames of a video."""
    model = build().eval()
    (sample,) = localizing.batch(1)['data_samples']
    (whole,) = model(features_of(1), [sample], mode='predict')
    sample = copy.deepcopy(sample)
    sample.set_metainfo(dict(feature_frame=12, duration_frame=16))
    (part,) = model(features_of(1), [sample], mode='predict')
    for one, other in zip(whole['proposal_list'], part['proposal_list']):
        expected = [0.75 * time for time in one['segment']]
        assert other['segment'] == pytest.approx(expected)


def test_checkpoints_hold_the_normalizer_and_not_the_points(build, localizing):
    model = build()
    model(features_of(), localizing.batch()['data_samples'], mode='loss')
    state = model.state_dict()
    assert not any('point' in name or 'position' in name for name in state)
    other = build()
    other.load_state_dict(state)
    assert other.normalizer.value == model.normalizer.value != 100


def test_losses_are_float32_under_autocast(build, localizing):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = build()(features_of(), localizing.batch()['data_samples'], mode='loss')
    for loss in losses.values():
        assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize('frozen_backbone', [False, True])
def test_it_trains_behind_a_backbone(localizing, frozen_backbone):
    model = MODELS.build(
        localizing.model(
            config(in_channels=16),
            backbone=localizing.backbone(True),
            frozen_backbone=frozen_backbone,
        )
    )
    assert type(model.localizer) is ActionFormer
    data = model.data_preprocessor(localizing.batch(), True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert localizing.unused(model) == []
    results = model.eval().val_step(localizing.batch(3))
    assert [r['video_name'] for r in results] == ['video_0', 'video_1', 'video_2']


def test_gradients_behind_a_reversible_backbone_are_those_of_stored_activations(
    localizing,
):
    gradients = {}
    for backprop in ('reversible', 'stored'):
        torch.manual_seed(0)
        model = MODELS.build(
            localizing.model(
                config(in_channels=16),
                backbone=localizing.backbone(
                    True, dual_residual=dict(alpha=0.7, beta=0.4, backprop=backprop)
                ),
            )
        )
        localizing.randomize(model)
        data = model.data_preprocessor(localizing.batch(), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        gradients[backprop] = {n: p.grad for n, p in model.named_parameters()}
    for name, gradient in gradients['stored'].items():
        assert torch.equal(gradients['reversible'][name], gradient), name


class TestErrors:
    @pytest.mark.parametrize(
        ('changes', 'message'),
        [
            (dict(num_classes=20), 'num_classes is 20, but classes has no names'),
            (dict(num_classes=3, classes=['a', 'b']), 'num_classes is 3 and classes'),
            (dict(classes=[]), 'classes has 0 names'),
            (dict(regression_loss='l1'), "regression_loss is 'l1'"),
            (dict(label_smoothing=1.0), 'label_smoothing is 1.0'),
            (dict(center_radius=0), 'center_radius is 0'),
            (dict(regression_ranges=[(0, 4)]), '1 regression_ranges and 3 levels'),
            (dict(normalizer=dict(initial=0)), 'initial is 0'),
            (dict(test_cfg=dict(sigma=0)), 'sigma is 0'),
        ],
    )
    def test_of_arguments(self, build, changes, message):
        with pytest.raises(ValueError, match=message):
            build(**changes)

    def test_of_another_length(self, build):
        with pytest.raises(ValueError, match=r'\[6, 20\].*at 16 temporal positions'):
            build()(features_of(length=20))

    def test_of_videos_of_different_lengths(self, build):
        videos = [features_of()[0], features_of(length=12)[0]]
        with pytest.raises(ValueError, match=r'video 1 have the shape \[6, 12\]'):
            build()(videos)

    def test_of_a_mode_that_is_not_there(self, build):
        with pytest.raises(RuntimeError, match="mode is 'train'"):
            build()(features_of(), mode='train')

    def test_of_classes_without_labels(self, build, localizing):
        model = build(classes=['run', 'jump'])
        with pytest.raises(KeyError, match='no gt_label'):
            model(features_of(), localizing.batch()['data_samples'], mode='loss')
