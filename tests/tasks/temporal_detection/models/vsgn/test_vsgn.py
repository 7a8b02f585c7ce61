import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement

from dr2net_mm.tasks.temporal_detection.models import VSGN

LOSSES = {
    'loss_cls',
    'loss_reg',
    'loss_start',
    'loss_end',
    'loss_action',
    'loss_adjust',
}
TRUTHS = ([[0.1, 0.45], [0.6, 0.9]], [[0.25, 0.75]])


@pytest.fixture
def batch(vsgn, localizing):
    samples = [localizing.sample(f'v{i}', rows) for i, rows in enumerate(TRUTHS)]
    return vsgn.features(len(samples)), samples


def test_the_default_model_has_496_proposals_and_256_cells():
    model = VSGN(in_channels=16)
    outputs = model(torch.randn(1, 16, 256))
    assert outputs.logits.shape == (1, 496, 1)
    assert outputs.proposals.shape == outputs.adjusted.shape == (1, 496, 2)
    assert outputs.boundaries.shape == (1, 3, 256)
    assert not [key for key in model.state_dict() if 'anchors' in key]


def test_losses_are_named_and_a_list_of_features_is_as_good_as_a_tensor(vsgn, batch):
    features, samples = batch
    model = vsgn.build().eval()
    losses = model(features, samples, mode='loss')
    assert set(losses) == LOSSES
    listed = model(list(features), samples, mode='loss')
    torch.testing.assert_close(listed, losses)


@pytest.mark.parametrize('use_graph', [True, False])
def test_every_parameter_gets_a_gradient(vsgn, batch, localizing, use_graph):
    model = vsgn.build(use_graph=use_graph)
    sum(model(*batch, mode='loss').values()).backward()
    assert localizing.unused(model) == []
    still = [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0]
    assert still == []


def test_videos_without_ground_truth_give_finite_losses_and_gradients(vsgn, localizing):
    model = vsgn.build()
    empty = [localizing.sample('a', []), localizing.sample('b', [])]
    empty[1].gt_instances['gt_bbox'] = torch.zeros(0)  # numpy's array of an empty list
    losses = model(vsgn.features(), empty, mode='loss')
    assert losses['loss_reg'] == losses['loss_adjust'] == 0
    sum(losses.values()).backward()
    assert localizing.unused(model) == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_losses_and_gradients_are_finite_under_autocast(vsgn, batch, dtype):
    model = vsgn.build()
    try:
        with torch.autocast('cpu', dtype=dtype):
            losses = model(*batch, mode='loss')
        sum(losses.values()).backward()
    except RuntimeError as error:
        pytest.skip(f'this torch has no {dtype} on the CPU: {error}')
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    plain = vsgn.build()(*batch, mode='loss')
    for name, loss in losses.items():
        torch.testing.assert_close(loss, plain[name], rtol=0.1, atol=0.02)


def test_ground_truth_of_one_percent_or_less_is_not_trained_on(vsgn, localizing):
    features, long = vsgn.features(1), [0.2, 0.6]
    short = [0.7, 0.709]
    losses = [
        vsgn.build()(features, [localizing.sample('v', rows)], mode='loss')
        for rows in ([long], [long, short])
    ]
    torch.testing.assert_close(*losses)
    kept = vsgn.build(min_gt_length=0.0)
    more = kept(features, [localizing.sample('v', [long, short])], mode='loss')
    assert more['loss_start'] != losses[0]['loss_start']


def test_predictions_are_in_seconds_best_first_and_one_a_video(vsgn, batch):
    features, samples = batch
    samples[1].set_metainfo(dict(duration_second=20.0, feature_frame=8))
    results = vsgn.build().eval()(features, samples, mode='predict')
    assert [result['video_name'] for result in results] == ['v0', 'v1']
    # Half of the second video's frames have features.
    for result, end in zip(results, (8.0, 10.0)):
        proposals = result['proposal_list']
        assert 0 < len(proposals) <= 100
        scores = [proposal['score'] for proposal in proposals]
        assert scores == sorted(scores, reverse=True)
        assert all(set(proposal) == {'score', 'segment'} for proposal in proposals)
        assert all(0 <= s < e <= end for s, e in (p['segment'] for p in proposals))


def test_a_batch_is_predicted_like_its_videos_one_by_one(vsgn, batch):
    features, samples = batch
    model = vsgn.build().eval()
    together = model(features, samples, mode='predict')
    for i, result in enumerate(together):
        alone = model(features[i : i + 1], samples[i : i + 1], mode='predict')[0]
        assert result['video_name'] == alone['video_name']
        for a, b in zip(result['proposal_list'], alone['proposal_list']):
            assert a['score'] == pytest.approx(b['score'], rel=1e-4)
            assert a['segment'] == pytest.approx(b['segment'], abs=1e-3)


def test_scores_are_class_times_start_times_end_before_soft_nms(
    vsgn, localizing, monkeypatch
):
    model = vsgn.build().eval()
    outputs = model(vsgn.features(1))
    logits = torch.full_like(outputs.logits, -100.0)
    boundaries = torch.zeros_like(outputs.boundaries)
    adjusted = torch.zeros_like(outputs.adjusted)
    adjusted[0, 0] = torch.tensor([10.5, 30.0])
    adjusted[0, 1] = torch.tensor([30.0, 20.0])  # ends swapped
    logits[0, :2] = torch.tensor([[1.0], [2.0]])
    boundaries[0, 0, 10:12] = torch.tensor([2.0, -1.0])
    boundaries[0, 1, 30] = 2.0
    crafted = outputs._replace(logits=logits, boundaries=boundaries, adjusted=adjusted)
    monkeypatch.setattr(model, '_forward', lambda features: crafted)
    sample = localizing.sample('v', [])  # 8 seconds of 64 cells
    result = model(vsgn.features(1), [sample], mode='predict')[0]
    first, second = result['proposal_list']
    sigmoid = torch.tensor([1.0, 2.0, 2.0, -1.0]).sigmoid().tolist()
    start = (sigmoid[2] + sigmoid[3]) / 2
    scores = [sigmoid[0] * start * sigmoid[1], sigmoid[1] * 0.5 * sigmoid[1]]
    assert scores[0] < scores[1]
    assert first['segment'] == pytest.approx([2.5, 3.75])
    assert first['score'] == pytest.approx(scores[1])
    # |[10.5, 30] ∩ [20, 30]| = 10 of 19.5.
    decay = torch.exp(torch.tensor(-((10 / 19.5) ** 2) / 0.5)).item()
    assert second['segment'] == pytest.approx([1.3125, 3.75])
    assert second['score'] == pytest.approx(scores[0] * decay)


def test_several_classes_need_labels_and_name_the_proposals(vsgn, localizing):
    model = vsgn.build(num_classes=2, classes=['jump', 'throw'])
    features = vsgn.features(1)
    labeled = localizing.sample('v', [[0.2, 0.4], [0.5, 0.9]], labels=[1, 0])
    sum(model(features, [labeled], mode='loss').values()).backward()
    proposals = model.eval()(features, [labeled], mode='predict')[0]['proposal_list']
    assert {proposal['label'] for proposal in proposals} == {'jump', 'throw'}
    assert len(proposals) == 100
    with pytest.raises(KeyError, match='gt_label'):
        model(features, [localizing.sample('v', [[0.2, 0.4]])], mode='loss')


def test_weights_start_as_in_the_recipe_and_deconvolutions_as_in_torch(vsgn):
    model = vsgn.build()
    before = model.decoder.upsamples[0][0].weight.clone()
    model.init_weights()
    assert model.head.cls.bias.abs().sum() == 0
    bound = (6 / (2 * 32 * 3)) ** 0.5
    largest = model.decoder.fusions[0][0].weight.abs().max()
    assert 0.95 * bound < largest <= bound
    assert torch.equal(model.decoder.upsamples[0][0].weight, before)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(temporal_length=100), 'temporal_length is 100.*multiple of 8, such as'),
        (dict(temporal_length=4), 'temporal_length is 4.*such as 8'),
        (dict(num_levels=0), 'num_levels is 0'),
        (dict(channels=36), 'channels is 36; it must be a multiple of norm_groups=8'),
        (dict(num_neighbors=0), 'num_neighbors is 0.*use_graph=False'),
        (dict(min_gt_length=1.0), 'min_gt_length is 1.0'),
        (dict(num_classes=0), 'num_classes is 0'),
        (dict(num_classes=2), 'num_classes is 2; name them in classes'),
        (dict(classes=['a', 'b']), '2 classes and num_classes=1'),
    ],
)
def test_sizes_that_do_not_fit_name_the_value_and_the_remedy(vsgn, changes, message):
    with pytest.raises(ValueError, match=message):
        vsgn.build(**changes)


@pytest.mark.parametrize('shape', [(1, 8, 32), (1, 9, 64), (1, 64)])
def test_features_of_another_shape_are_refused(vsgn, shape):
    with pytest.raises(ValueError, match='takes 8 channels at 64 temporal positions'):
        vsgn.build()(torch.zeros(shape))


@pytest.mark.parametrize(
    'rows', [[[0.2, 1.2]], [[-0.1, 0.5]], [[0.6, 0.4]], [[float('nan'), 0.4]]]
)
def test_ground_truth_that_is_no_segment_of_the_video_is_refused(
    vsgn, localizing, rows
):
    with pytest.raises(ValueError, match="'v' has the segment .* fractions of the"):
        vsgn.build()(vsgn.features(1), [localizing.sample('v', rows)], mode='loss')


def test_unknown_modes_and_missing_samples_are_refused(vsgn, batch):
    features, samples = batch
    model = vsgn.build()
    with pytest.raises(RuntimeError, match="mode is 'train'"):
        model(features, samples, mode='train')
    with pytest.raises(ValueError, match='2 videos and 0 data samples'):
        model(features, mode='loss')
    with pytest.raises(ValueError, match='2 videos and 1 data samples'):
        model(features, samples[:1], mode='predict')


def test_a_video_without_duration_is_named(vsgn, localizing):
    sample = BaseDataElement(metainfo=dict(video_name='v'))
    with pytest.raises(KeyError, match="'v' has no duration_second"):
        vsgn.build().eval()(vsgn.features(1), [sample], mode='predict')


def test_a_tiny_model_learns_to_localize_actions_it_has_not_seen(vsgn, localizing):
    model = vsgn.build()
    model.init_weights()
    features, truths = vsgn.videos(24, seed=1)
    samples = [localizing.sample(f'v{i}', rows) for i, rows in enumerate(truths)]
    unseen, unseen_truths = vsgn.videos(16, seed=2)
    unseen_samples = [
        localizing.sample(f'u{i}', r) for i, r in enumerate(unseen_truths)
    ]

    def precision():
        model.eval()
        results = model.test_step(dict(inputs=unseen, data_samples=unseen_samples))
        model.train()
        return vsgn.average_precision(results, unseen_truths, seconds=8.0, tiou=0.5)

    before = precision()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    wrapper = OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    for step in range(60):
        part = slice(8 * (step % 3), 8 * (step % 3) + 8)
        data = dict(inputs=features[part], data_samples=samples[part])
        log = model.train_step(data, wrapper)
    assert set(log) == LOSSES | {'loss'}
    after = precision()
    assert before < 0.35
    assert after > 0.8
