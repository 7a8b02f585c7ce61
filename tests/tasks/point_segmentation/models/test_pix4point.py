"""The whole network against a second implementation, and its gradients."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from dr2net_mm.engine.reversibility import SampleTaker, measure
from tests.tasks.point_segmentation.models import reference
from tests.tasks.point_segmentation.models.toolbox import (
    ENCODER,
    assert_same,
    batch,
    gradients,
    pix4point,
    weights_of,
)

KEYS = Path('tests/fixtures/published_keys/pix4point_s3dis.json')
SHAPE = [ENCODER[name] for name in ('ratios', 'neighbors', 'depth', 'num_heads')]


@pytest.mark.parametrize('training', [False, True])
def test_logits_are_those_of_the_published_description(training):
    model = pix4point('PointViT').double().train(training)
    inputs, _ = batch()
    wanted = reference.logits(
        weights_of(model), inputs.double().numpy(), *SHAPE, training=training
    )
    found = model(inputs.double()).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('alpha, beta', [(1, 0), (1, 0.1), (0.4, 0.7), (0, 1)])
def test_dual_residual_logits_are_those_of_the_equations(alpha, beta):
    options = dict(alpha=alpha, beta=beta, arithmetic='float', backprop='stored')
    model = pix4point(dual_residual=options).double().eval()
    inputs, _ = batch()
    wanted = reference.logits(
        weights_of(model), inputs.double().numpy(), *SHAPE, alpha=alpha, beta=beta
    )
    found = model(inputs.double()).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_at_one_and_zero_it_is_the_conventional_network():
    conventional, dual = (
        pix4point('PointViT'),
        pix4point(dual_residual=dict(alpha=1.0, beta=0.0)),
    )
    dual.load_state_dict(conventional.state_dict(), strict=False)
    inputs, _ = batch()
    with torch.no_grad():
        found, wanted = (model.eval()(inputs) for model in (dual, conventional))
    # Streams are multiples of 2**-16.
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_the_mean_of_the_last_two_is_that_of_the_authors():
    options = dict(alpha=0.8, beta=0.3, arithmetic='float')
    model = pix4point(dual_residual=options, average_last_two=True).double().eval()
    inputs = batch()[0].double()
    w = reference.below(weights_of(model), 'encoder.')
    with torch.no_grad():
        found = model.encoder(inputs)[-1].numpy()
    for tokens, cloud in zip(found, inputs.numpy()):
        levels = reference.embed(w, cloud[:, :3], cloud.T, *SHAPE[:2])
        last, before = reference.tokens_of(w, levels, *SHAPE[2:], alpha=0.8, beta=0.3)
        wanted = reference.norm_of(w, (last + before) / 2)
        np.testing.assert_allclose(tokens, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.4, 0.7)])
@pytest.mark.parametrize('average', [False, True])
def test_gradients_equal_stored_ones_bit_for_bit(alpha, beta, amp, average):
    one, other = (
        gradients(
            pix4point(
                dual_residual=dict(alpha=alpha, beta=beta, backprop=backprop),
                average_last_two=average,
                drop_path_rate=0.3,
                dropout=0.5,
                layer_scale=0.5,
            ),
            amp=amp,
        )
        for backprop in ('reversible', 'stored')
    )
    assert_same(one, other)


def test_positions_and_cls_get_the_gradients_of_the_equations():
    """Against finite differences of the loss, at (0.8, 0.3) in float64."""
    options = dict(alpha=0.8, beta=0.3, arithmetic='float')
    model = pix4point(dual_residual=options).double().eval()
    inputs, samples = batch()
    inputs = inputs.double()
    model.loss(inputs, samples)['loss'].backward()
    encoder, step = model.encoder, 1e-5
    for tensor in (
        encoder.cls_token,
        encoder.cls_pos,
        encoder.pos_embed[0][0].weight,
        encoder.pos_embed[1].bias,
    ):
        place = int(tensor.grad.abs().argmax())
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor.view(-1)[place] += sign * step
                losses.append(float(model.loss(inputs, samples)['loss']))
                tensor.view(-1)[place] -= sign * step
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float(tensor.grad.view(-1)[place]), rel=1e-5)


def test_a_budget_changes_no_gradient():
    wanted = gradients(pix4point())
    options = dict(memory_budget=10**9)
    assert_same(gradients(pix4point(dual_residual=options)), wanted)


def test_checkpointing_the_conventional_network_changes_no_gradient():
    wanted = gradients(pix4point('PointViT'))
    assert_same(gradients(pix4point('PointViT', with_cp=True)), wanted)


def test_keys_and_size_are_those_of_the_published_network():
    published = json.loads(KEYS.read_text())
    model = MODELS.build(
        dict(
            type='Pix4Point',
            encoder=dict(type='PointViT'),
            decoder=dict(type='PointDecoder'),
            head=dict(type='PointSegmentationHead', num_classes=13),
        )
    )
    own = {name: list(v.shape) for name, v in model.state_dict().items()}
    assert list(own) == list(published) and own == published
    assert sum(p.numel() for p in model.parameters()) == 23_685_453


def test_frozen_blocks_keep_their_weights_and_the_rest_trains():
    for kind in ('PointViT', 'Dr2PointViT'):
        model = pix4point(kind, frozen_blocks=True).train()
        assert not model.encoder.blocks.training and model.decoder.training
        found = gradients(model)
        without = {name for name, value in found.items() if value is None}
        frozen = {n for n in found if n.startswith(('encoder.blocks', 'encoder.norm'))}
        assert without == frozen
        assert all(found[name].any() for name in found if name not in frozen)


def test_votes_average_the_logits_of_rotated_clouds():
    model = pix4point('PointViT', test_cfg=dict(votes=2)).eval()
    inputs, samples = batch()
    half_turn = inputs.clone()
    half_turn[..., :2] *= -1
    with torch.no_grad():
        wanted = (model(inputs) + model(half_turn)) / 2
        found = model.predict(inputs, samples)
    assert not torch.allclose(model(inputs), model(half_turn))
    got = torch.stack([sample.logits for sample in found])
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_the_loss_smooths_labels_and_leaves_out_what_is_ignored():
    inputs, samples = batch()
    for padding in (True, False):
        model = pix4point('PointViT', padding_in_loss=padding).eval()
        logits = model(inputs).detach().double().flatten(0, 1)
        labels = torch.cat([sample.labels for sample in samples])
        valid = torch.cat([sample.valid for sample in samples])
        counted = (labels != 255) & (valid | padding)
        logs = logits.log_softmax(1)[counted]
        right = logs.gather(1, labels[counted].unsqueeze(1)).squeeze(1)
        wanted = -(0.8 * right + 0.2 * logs.mean(1)).mean()
        found = model(inputs, samples, mode='loss')['loss'].detach()
        assert float(found) == pytest.approx(float(wanted), rel=1e-5)


def test_a_batch_without_a_known_class_has_no_loss():
    model = pix4point()
    inputs, samples = batch()
    for sample in samples:
        sample.labels.fill_(255)
    loss = model.loss(inputs, samples)['loss']
    loss.backward()
    assert float(loss.detach()) == 0


def test_its_reversal_can_be_measured_while_it_trains():
    model = pix4point(drop_path_rate=0.2).train()
    taker = SampleTaker(model.encoder, 1)
    taker.start()
    model.loss(*batch())['loss'].backward()
    found = measure(model.encoder, taker.taken())
    assert found.gradient == 0
    assert found.reconstruction == {'Dr2PointViT stage 1': 0.0}


def test_coefficients_travel_in_the_state_dict():
    model = pix4point()
    model.encoder.set_coefficients(0.5, 0.6)
    other = pix4point(seed=1)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert (other.encoder.alpha, other.encoder.beta) == (0.5, 0.6)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(num_heads=5), 'num_heads=5'),
        (dict(widths=(12,)), 'one value for each level'),
        (dict(in_channels=2), 'in_channels is 2'),
        (dict(ratios=(0, 2)), '1 or more'),
        (dict(init_cfg=dict(type='Normal')), 'init_cfg of a point encoder'),
        (dict(label_smoothing=1.0), 'label_smoothing is 1.0'),
        (dict(test_cfg=dict(votes=0)), 'votes is 0'),
        (dict(with_cp=True), 'with_cp=True has no use in Dr2PointViT'),
        (dict(dual_residual=dict(fusion='concat')), "takes fusion 'last' or 'mean'"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        pix4point(**change)


@pytest.mark.parametrize(
    'shape, message',
    [
        ((2, 32, 6), r'takes points \[B, N, 7\], got \(2, 32, 6\)'),
        ((2, 11, 7), 'needs 12 or more'),
        ((2, 0, 7), 'clouds of 0 points'),
        ((2, 1, 7), 'clouds of 1 points'),
    ],
)
def test_clouds_that_do_not_fit_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        pix4point()(torch.rand(shape))


def test_the_smallest_cloud_and_a_single_one_are_taken():
    model = pix4point().eval()
    assert model(torch.rand(1, 12, 7)).shape == (1, 12, 5)
    with torch.no_grad():
        assert torch.isfinite(model(torch.zeros(1, 12, 7))).all()
