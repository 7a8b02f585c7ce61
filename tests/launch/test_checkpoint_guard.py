"""Which checkpoints a model accepts."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from dr2net_mm.errors import UserError
from dr2net_mm.launch.checkpoint_guard import (
    CheckpointGuard,
    check_fits,
    guard_pretrained,
)
from dr2net_mm.launch.config_checks import check_pretrained_files


class Coefficients(nn.Module):
    """Stands for the coefficients that our backbones keep in the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('alpha', torch.tensor(1.0))
        self.register_buffer('beta', torch.tensor(0.1))


class Detector(nn.Module):
    def __init__(
        self, width: int = 4, classes: int = 2, dual: bool = False, depth: int = 6
    ) -> None:
        super().__init__()
        layers = [nn.Linear(width, width) for _ in range(depth)]
        self.backbone = nn.ModuleDict(dict(layers=nn.ModuleList(layers)))
        if dual:
            self.backbone['dual_residual'] = Coefficients()
        self.head = nn.Linear(width, classes)


@pytest.mark.parametrize('purpose', ['finetune', 'resume', 'test'])
def test_a_conventional_checkpoint_fits_a_dual_residual_model(purpose):
    check_fits(Detector(dual=True), Detector().state_dict(), 'a.pth', purpose)


@pytest.mark.parametrize('purpose', ['finetune', 'resume', 'test'])
def test_a_dual_residual_checkpoint_fits_a_conventional_model(purpose):
    check_fits(Detector(), Detector(dual=True).state_dict(), 'a.pth', purpose)


def test_a_plain_swin_detector_fits_its_reversible_counterpart():
    mmdet_backbones = pytest.importorskip('mmdet.models.backbones')
    from dr2net_mm.backbones import Dr2SwinTransformer

    size = dict(embed_dims=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
    plain, reversible = nn.Module(), nn.Module()
    plain.backbone = mmdet_backbones.SwinTransformer(**size)
    reversible.backbone = Dr2SwinTransformer(**size)
    for purpose in ('finetune', 'resume', 'test'):
        check_fits(reversible, plain.state_dict(), 'a.pth', purpose)
    wider = nn.Module()
    wider.backbone = Dr2SwinTransformer(**dict(size, embed_dims=8))
    with pytest.raises(UserError, match='another architecture'):
        check_fits(wider, plain.state_dict(), 'a.pth', 'finetune')


def test_the_prefix_of_a_parallel_wrapper_is_ignored():
    weights = {f'module.{k}': v for k, v in Detector().state_dict().items()}
    check_fits(Detector(), weights, 'a.pth', 'resume')


def test_another_head_may_be_finetuned_but_not_tested_or_resumed():
    weights = Detector(classes=5).state_dict()
    check_fits(Detector(), weights, 'a.pth', 'finetune')
    for purpose in ('test', 'resume'):
        with pytest.raises(UserError, match=r'head\.weight is \(5, 4\)'):
            check_fits(Detector(), weights, 'a.pth', purpose)


@pytest.mark.parametrize('purpose', ['finetune', 'resume', 'test'])
@pytest.mark.parametrize(
    'weights',
    [Detector(width=8).state_dict(), nn.Linear(3, 3).state_dict(), {}],
    ids=['wider', 'unrelated', 'empty'],
)
def test_another_architecture_is_refused_for_any_purpose(purpose, weights):
    with pytest.raises(UserError, match="'a.pth' is of another architecture"):
        check_fits(Detector(), weights, 'a.pth', purpose)


def test_one_backbone_tensor_of_another_shape_is_refused():
    weights = Detector().state_dict()
    weights['backbone.layers.0.weight'] = torch.zeros(1, 1)
    with pytest.raises(UserError, match=r'backbone\.layers\.0\.weight is \(1, 1\)'):
        check_fits(Detector(), weights, 'a.pth', 'finetune')


def test_a_deeper_model_cannot_be_resumed_or_tested():
    weights = Detector().state_dict()
    with pytest.raises(UserError, match='cannot be resumed'):
        check_fits(Detector(depth=7), weights, 'a.pth', 'resume')
    with pytest.raises(UserError, match='lacks'):
        check_fits(Detector(depth=7), weights, 'a.pth', 'test')


def test_a_bare_backbone_is_told_where_it_belongs():
    model = Detector()
    with pytest.raises(UserError, match='init_cfg'):
        check_fits(model, model.backbone.state_dict(), 'a.pth', 'finetune')


def test_a_file_of_weights_only_cannot_be_resumed():
    guard = CheckpointGuard('a.pth', 'resume')
    with pytest.raises(UserError, match='weights only'):
        guard.after_load_checkpoint(None, Detector().state_dict())


def test_plain_parts_of_a_model_are_guarded(tmp_path):
    mmdet_backbones = pytest.importorskip('mmdet.models.backbones')
    path = str(tmp_path / 'resnet.pth')
    torch.save({'conv1.weight': torch.zeros(1)}, path)
    init_cfg = dict(type='Pretrained', checkpoint=path)

    def build():
        model = nn.Module()
        model.backbone = mmdet_backbones.ResNet(18, base_channels=4, init_cfg=init_cfg)
        guard_pretrained(model)
        return model.backbone

    with pytest.raises(UserError, match='ResNet.*0 of'):
        build().init_weights()
    weights = build().state_dict()
    torch.save(weights, path)
    backbone = build()
    backbone.init_weights()
    assert torch.equal(backbone.state_dict()['conv1.weight'], weights['conv1.weight'])


def test_an_unknown_purpose_is_refused():
    with pytest.raises(ValueError, match="'train'"):
        CheckpointGuard('a.pth', 'train')


@pytest.mark.parametrize('kind', ['VisionTransformer', 'mmaction.VisionTransformer'])
def test_a_file_that_mmaction_forgets_is_named(kind):
    backbone = dict(type=kind, pretrained='vit.pth')
    cfg = Config(dict(default_scope='mmaction', model=dict(backbone=backbone)))
    with pytest.raises(
        UserError, match=r"pretrained='vit\.pth' is forgotten.*init_cfg"
    ):
        check_pretrained_files(cfg)
    cfg.model.backbone.type = 'Dr2VisionTransformer'
    check_pretrained_files(cfg)
