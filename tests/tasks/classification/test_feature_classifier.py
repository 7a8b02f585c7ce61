import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch.nn import functional

VIT = dict(
    type='Dr2TimmBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=32,
    depth=2,
    embed_dim=12,
    num_heads=2,
    output_norm=True,
)


def classifier(backbone=VIT, **changes):
    torch.manual_seed(0)
    settings = dict(type='FeatureClassifier', backbone=backbone, num_classes=3)
    return MODELS.build({**settings, **changes})


def labelled(*labels):
    return [BaseDataElement(gt_label=torch.tensor(label)) for label in labels]


def test_logits_are_linear_in_the_mean_of_the_last_feature_map():
    model = classifier().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        means = model.backbone(images)[-1].mean(dim=(2, 3))
        expected = means @ model.head.weight.t() + model.head.bias
        torch.testing.assert_close(model(images), expected)


def test_the_loss_is_the_cross_entropy_of_the_labels():
    model = classifier()
    images = torch.randn(2, 3, 32, 32)
    losses = model(images, labelled(2, 0), mode='loss')
    expected = functional.cross_entropy(model(images), torch.tensor([2, 0]))
    torch.testing.assert_close(losses['loss'], expected)


def test_gradients_of_the_whole_model_equal_those_of_stored_activations():
    images, gradients = torch.randn(2, 3, 32, 32), []
    for backprop in ('reversible', 'stored'):
        model = classifier(dict(VIT, dual_residual=dict(backprop=backprop)))
        model(images, labelled(1, 2), mode='loss')['loss'].backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert len(gradients[0]) > 20
    for first, second in zip(*gradients):
        assert torch.equal(first, second)


def test_predictions_are_scores_that_add_up_to_one_with_the_best_label():
    model = classifier().eval()
    with torch.no_grad():
        samples = model(torch.randn(2, 3, 32, 32), mode='predict')
    for sample in samples:
        assert sample.pred_score.sum().item() == pytest.approx(1)
        assert sample.pred_label == sample.pred_score.argmax()


def test_a_label_beyond_the_classes_is_named():
    with pytest.raises(ValueError, match='label 3, but the model has num_classes=3'):
        classifier()(torch.randn(1, 3, 32, 32), labelled(3), mode='loss')


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(num_classes=1), 'num_classes is 1; give at least 2'),
        (dict(dropout=1.0), 'dropout is 1.0; it must be in'),
    ],
)
def test_a_number_out_of_range_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        classifier(**changes)


def test_a_backbone_that_does_not_say_its_channels_needs_in_channels():
    pytest.importorskip('mmdet')
    resnet = dict(type='mmdet.ResNet', depth=18, base_channels=8)
    with pytest.raises(ValueError, match='give in_channels'):
        classifier(resnet)
    assert classifier(resnet, in_channels=64)(torch.randn(2, 3, 32, 32)).shape == (2, 3)
