"""The whole model: shapes, gradients, frozen parts, refusals."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

ALL = [0, 1, 2, 3]


def gradients(mttr, backprop, **changes):
    config = mttr.config()
    backbone = dict(config['backbone'], dual_residual=dict(backprop=backprop, beta=0.1))
    model = mttr.build(backbone=backbone, **changes).train()
    batch = mttr.batch(model)
    torch.manual_seed(1)
    losses = model(**batch, mode='loss')
    sum(losses.values()).backward()
    return losses, {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize('frames', [[2], ALL])
def test_predictions_have_a_mask_of_the_original_size_for_each_query(mttr, frames):
    model = mttr.build().eval()
    first, second = model(**mttr.batch(model, frames), mode='predict')
    assert first.pred_instances.masks.shape == (5, len(frames), 66, 80)
    assert second.pred_instances.masks.shape == (5, len(frames), 80, 64)
    assert first.pred_instances.scores.shape == (5, len(frames))
    assert first.pred_instances.masks.dtype == torch.bool


def test_one_query_is_chosen_for_a_whole_video(mttr):
    model = mttr.build(whole_video=True).eval()
    every = mttr.build().eval()
    batch = mttr.batch(model, ALL)
    expected = []
    for sample in every(**mttr.batch(every, ALL), mode='predict'):
        best = sample.pred_instances.scores.mean(dim=1).argmax()
        expected.append(sample.pred_instances.masks[best])
    for sample, masks in zip(model(**batch, mode='predict'), expected):
        assert sample.pred_instances.masks.shape[0] == 1
        assert torch.equal(sample.pred_instances.masks[0], masks)


def test_reversible_gradients_equal_stored_ones_bit_for_bit(mttr):
    losses, reversible = gradients(mttr, 'reversible')
    expected, stored = gradients(mttr, 'stored')
    assert losses.keys() == expected.keys() and len(losses) == 6
    for name, loss in losses.items():
        assert torch.equal(loss, expected[name])
    for name, gradient in reversible.items():
        assert torch.equal(gradient, stored[name]), name


def test_every_trained_parameter_gets_a_gradient_and_the_text_encoder_none(mttr):
    _, found = gradients(mttr, 'reversible')
    assert not any(name.startswith('text_encoder') for name in found)
    assert all(gradient is not None for gradient in found.values())


def test_half_precision_gives_finite_losses_and_the_same_gradients(mttr):
    with torch.autocast('cpu', torch.bfloat16):
        losses, reversible = gradients(mttr, 'reversible')
        _, stored = gradients(mttr, 'stored')
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.equal(reversible[name], stored[name]) for name in stored)


def test_maps_of_frames_without_annotation_are_not_returned(mttr):
    model = mttr.build().eval()
    shapes = []
    model.backbone.register_forward_hook(
        lambda module, inputs, outputs: shapes.extend(out.shape[2] for out in outputs)
    )
    batch = mttr.batch(model)
    selected = model(**batch)
    every = model(batch['inputs'], mttr.batch(model, ALL)['data_samples'])
    assert shapes == [1, 1, 1, 4, 4, 4]
    torch.testing.assert_close(selected.features[:, 0], every.features[:, 2])
    torch.testing.assert_close(selected.scores[:, :, 0], every.scores[:, :, 2])


def test_dual_residual_maps_at_one_and_zero_are_those_of_the_conventional_twin(mttr):
    config = mttr.config()['backbone']
    model = mttr.build(
        backbone=dict(config, dual_residual=dict(alpha=1.0, beta=0.0))
    ).eval()
    twin = mttr.build(
        backbone=dict(config, type='ConventionalSwinTransformer3D', pretrained2d=False)
    ).eval()
    twin.load_state_dict(model.state_dict(), strict=False)
    batch = mttr.batch(model)
    video = batch['inputs'].transpose(1, 2)
    for mine, theirs in zip(model.backbone(video, frames=[2]), twin.backbone(video)):
        torch.testing.assert_close(mine, theirs[:, :, [2]], atol=2e-4, rtol=0)
    assert twin(**batch, mode='loss').keys() == model(**batch, mode='loss').keys()


def test_a_frozen_backbone_is_in_eval_mode_and_has_no_gradients(mttr):
    model = mttr.build(frozen_backbone=True).train()
    assert not model.backbone.training and model.transformer.training
    sum(model(**mttr.batch(model), mode='loss').values()).backward()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert model.visual_projection.weight.grad is not None


def test_a_sample_without_instances_trains_scores_alone(mttr):
    model = mttr.build()
    batch = mttr.batch(model)
    for sample in batch['data_samples']:
        empty = torch.zeros(0, 1, *sample.img_shape, dtype=torch.bool)
        sample.set_data(
            dict(
                gt_instances=type(sample.gt_instances)(
                    masks=empty, referred=torch.zeros(0, dtype=torch.bool)
                )
            )
        )
    losses = model(**batch, mode='loss')
    assert losses['loss_dice'] == 0 and losses['loss_is_referred'] > 0
    sum(losses.values()).backward()
    assert model.kernel_head[2].weight.grad is not None


def test_a_few_steps_lower_the_loss(mttr):
    model = mttr.build().train()
    config = dict(optimizer=dict(type='AdamW', lr=2e-3))
    wrapper = build_optim_wrapper(model, config)
    losses = []
    for _ in range(6):
        batch = mttr.batch(model)
        total = sum(model(**batch, mode='loss').values())
        wrapper.update_params(total)
        losses.append(total.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(frames=[7]), r'annotated frames are \[\(7,\)\]'),
        (dict(frames=[]), 'annotated frames are'),
        (dict(other=[1]), r'\[\(1,\), \(2,\)\]'),
        (dict(samples=1), '2 windows and 1 data samples'),
        (dict(samples=0), '2 windows and 0 data samples'),
    ],
)
def test_samples_that_do_not_fit_are_refused(mttr, changes, message):
    model = mttr.build()
    batch = mttr.batch(model, changes.get('frames'))
    if 'other' in changes:
        batch['data_samples'][0].set_metainfo(dict(frames=changes['other']))
    if 'samples' in changes:
        batch['data_samples'] = batch['data_samples'][: changes['samples']]
    with pytest.raises(ValueError, match=message):
        model(**batch, mode='loss')


def test_frames_that_were_not_normalized_are_refused(mttr):
    model = mttr.build()
    with pytest.raises(ValueError, match='ReferringVideoPreprocessor'):
        model(torch.zeros(1, 4, 3, 8, 8, dtype=torch.uint8), [mttr.sample((9, 9))])
    with pytest.raises(RuntimeError, match="mode is 'train'"):
        model(**mttr.batch(model), mode='train')


def test_a_backbone_that_drops_frames_is_refused(mttr):
    backbone = dict(mttr.config()['backbone'], patch_size=(2, 4, 4))
    model = mttr.build(backbone=backbone)
    with pytest.raises(ValueError, match=r'patch_size=\(1, 4, 4\)'):
        model(**mttr.batch(model, ALL))


def test_windows_of_different_length_are_refused(mttr):
    model = mttr.build()
    windows = [torch.zeros(n, 3, 8, 8, dtype=torch.uint8) for n in (2, 3)]
    with pytest.raises(ValueError, match=r'\[2, 3\] frames'):
        model.data_preprocessor(dict(inputs=windows))
