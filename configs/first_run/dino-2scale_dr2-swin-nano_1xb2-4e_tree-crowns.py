"""A DINO that two CPU cores train in a few minutes, on real images.

Every part of a full run is here and small: see README.md of this folder.
"""

_base_ = [
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    '../_base_/import_dr2net.py',
    '../_base_/schedules/coefficients.py',
]

embed_dims = 48
model_dims = 256
num_levels = 2
model = dict(
    num_queries=100,
    num_feature_levels=num_levels,
    backbone=dict(
        _delete_=True,
        type='Dr2SwinTransformer',
        embed_dims=embed_dims,
        patch_size=8,
        strides=(8, 2, 2),
        depths=(2, 2, 2),
        num_heads=(3, 6, 12),
        window_size=7,
        drop_path_rate=0.0,
        out_indices=(1, 2),
        dual_residual=dict(arithmetic='exact'),
    ),
    neck=dict(
        in_channels=[embed_dims * 2, embed_dims * 4],
        out_channels=model_dims,
        num_outs=num_levels,
    ),
    encoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=model_dims, num_levels=num_levels),
            ffn_cfg=dict(embed_dims=model_dims, feedforward_channels=512),
        ),
    ),
    decoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=model_dims),
            cross_attn_cfg=dict(embed_dims=model_dims, num_levels=num_levels),
            ffn_cfg=dict(embed_dims=model_dims, feedforward_channels=512),
        ),
    ),
    positional_encoding=dict(num_feats=model_dims // 2),
    bbox_head=dict(num_classes=1, embed_dims=model_dims),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=50)),
    test_cfg=dict(max_per_img=100),
)

data_root = 'data/deepforest/'
metainfo = dict(classes=('tree',), palette=[(255, 200, 0)])
# Boxes are learned relative to the image: training and validation share its size.
image_size = (320, 320)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='RandomCrop',
        crop_type='relative_range',
        crop_size=(0.8, 0.8),
        allow_negative_crop=True,
    ),
    dict(type='Resize', scale=image_size, keep_ratio=False),
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal'],
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=5,
        dataset=dict(
            type='CocoDataset',
            data_root=data_root,
            metainfo=metainfo,
            ann_file='train.json',
            data_prefix=dict(img='train/'),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator

# Random weights: the backbone learns at the full rate.
optim_wrapper = dict(
    optimizer=dict(lr=4e-4),
    paramwise_cfg=None,
)
train_cfg = dict(max_epochs=4)
# The cosine ends where the run does, also when max_epochs is changed.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.05,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=2)

custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=3)]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
)
randomness = dict(seed=0)
