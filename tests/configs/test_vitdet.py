"""The rows of ViTDet: the published recipe, and a pair that differs in the backbone."""

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

CONVENTIONAL = 'configs/vitdet/mask-rcnn_vit-b-mae_16xb4-lsj-100e_coco.py'
DR2 = 'configs/vitdet/mask-rcnn_dr2-vit-b-mae_16xb4-lsj-100e_coco.py'


def small(cfg: Config, size: int = 64) -> Config:
    """The same detector with a narrow, shallow backbone for small images."""
    cfg.model.backbone.update(
        img_size=(size, size), embed_dim=32, depth=2, num_heads=2, init_cfg=None
    )
    cfg.model.neck.in_channels = 32
    cfg.model.data_preprocessor.batch_augments[0].size = (size, size)
    return cfg


def test_the_dual_residual_row_differs_in_backbone_and_schedule_only(configs):
    changed = configs.difference(configs.load(CONVENTIONAL), configs.load(DR2))
    assert set(changed) == {'model.backbone.type', 'custom_hooks'}
    assert changed['model.backbone.type'] == (
        'ConventionalTimmBackbone',
        'Dr2TimmBackbone',
    )


def test_a_step_has_64_images_and_the_rates_of_the_published_recipe(configs):
    cfg = small(configs.load(CONVENTIONAL))
    assert 16 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size
    passes = cfg.train_dataloader.dataset.times * cfg.train_cfg.max_epochs
    assert passes == 100
    steps = cfg.param_scheduler[1]
    assert [4 * epoch for epoch in steps.milestones] == [88, 96]
    model = configs.build(cfg)
    optimizer = build_optim_wrapper(model, configs.optim_wrapper(cfg)).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    rate, decay = found['backbone.blocks.1.attn.qkv.weight']
    assert abs(rate - 0.7e-4) < 1e-12 and decay == 0.1
    rate, decay = found['backbone.pos_embed']
    assert abs(rate - 1e-4 * 0.7**3) < 1e-12 and decay == 0.0
    assert found['roi_head.mask_head.convs.0.conv.weight'] == (1e-4, 0.1)


def test_both_rows_train_the_same_detector(configs):
    losses = {}
    for path in (CONVENTIONAL, DR2):
        cfg = small(configs.load(path))
        cfg.model.backbone.drop_path_rate = 0.0
        if path == DR2:
            # At (1, 0) the network is the pretrained one.
            cfg.model.backbone.dual_residual = dict(alpha=1.0, beta=0.0)
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).train()
        features = model.extract_feat(torch.ones(1, 3, 64, 64).sin())
        assert [f.shape[-1] for f in features] == [16, 8, 4, 2, 1]
        scores, _ = model.rpn_head(features)
        loss = sum(score.square().mean() for score in scores)
        loss.backward()
        losses[path] = loss.item()
        assert all(
            p.grad is not None
            for name, p in model.backbone.named_parameters()
            if p.requires_grad
        )
    assert abs(losses[DR2] - losses[CONVENTIONAL]) < 1e-3 * losses[CONVENTIONAL]
