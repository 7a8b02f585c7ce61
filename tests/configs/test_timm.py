"""The rows of configs/timm are pairs that differ in the backbone alone, and train."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

PAIRS = [
    'mask-rcnn_{}convnext-t_fpn_8xb2-amp-36e_coco',
    'mask-rcnn_{}swinv2-t_fpn_8xb2-12e_coco',
    'tsn_{}swin-b_32xb8-1x1x8-50e_kinetics400-rgb',
]


def path(pair: str, kind: str) -> str:
    return f'configs/timm/{pair.format(kind)}.py'


@pytest.mark.parametrize('pair', PAIRS)
def test_a_dual_residual_row_differs_in_backbone_and_schedule_only(configs, pair):
    plain, dr2 = (configs.load(path(pair, kind)) for kind in ('', 'dr2-'))
    changed = configs.difference(plain, dr2)
    assert set(changed) == {'model.backbone.type', 'custom_hooks'}
    assert changed['model.backbone.type'] == (
        'ConventionalTimmBackbone',
        'Dr2TimmBackbone',
    )


def test_recognizers_of_images_have_the_same_loss_and_train(configs):
    losses = []
    for kind in ('', 'dr2-'):
        cfg = configs.load(path(PAIRS[2], kind))
        cfg.model.backbone.update(
            depths=(1, 1, 1, 1), embed_dim=32, num_heads=(1, 2, 4, 8), init_cfg=None
        )
        cfg.model.cls_head.update(in_channels=256, dropout_ratio=0)
        if kind:
            # At (1, 0) the network is the pretrained one.
            cfg.model.backbone.dual_residual = dict(alpha=1.0, beta=0.0)
        init_default_scope(cfg.default_scope)
        from mmaction.structures import ActionDataSample

        torch.manual_seed(0)
        model = MODELS.build(cfg.model).train()
        model.backbone.eval()
        frames = torch.ones(1, 2, 3, 224, 224).sin()
        samples = [ActionDataSample().set_gt_label(3)]
        loss = model.loss(frames, samples)['loss_cls']
        loss.backward()
        losses.append(loss.item())
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        with torch.no_grad():
            (found,) = model.predict(frames, samples)
        assert found.pred_score.shape == (400,)
    assert abs(losses[1] - losses[0]) < 1e-3 * losses[0]
