"""Segmentation of rooms that two CPU cores train in minutes.

Every part of a full run is here and small: see README.md of this folder.
"""

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
default_scope = 'mmengine'

model = dict(
    type='Pix4Point',
    encoder=dict(
        type='Dr2PointViT',
        # Half of a ViT-S: that is what two cores train in minutes.
        depth=6,
        widths=(96, 192),
        ratios=(4, 4),
        neighbors=16,
        # That of the pretrained ViT replaces it; 1 is a ViT without LayerScale.
        layer_scale=1.0,
        drop_path_rate=0.0,
        dual_residual=dict(arithmetic='exact'),
    ),
    decoder=dict(type='PointDecoder', channels=128),
    head=dict(type='PointSegmentationHead', num_classes=13, channels=128),
    label_smoothing=0.1,
)

data_root = 'data/rooms/'
spheres = dict(
    type='S3DISDataset',
    data_root=data_root,
    voxel_size=0.1,
    radius=1.5,
    num_points=1024,
)
pack = [dict(type='PointColorNormalize'), dict(type='PackPoints')]
train_pipeline = [
    dict(type='PointColorAutoContrast', prob=0.2),
    dict(type='PointRandomScale', scale=(0.9, 1.1)),
    dict(type='PointRandomRotate'),
    dict(type='PointJitter', sigma=0.005, clip=0.02),
    dict(type='PointColorDrop', prob=0.1),
    *pack,
]
train_dataloader = dict(
    batch_size=6,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='SphereSampler', shuffle=True),
    dataset=dict(
        areas=[1, 2, 3], spheres_per_epoch=384, pipeline=train_pipeline, **spheres
    ),
)
val_dataloader = dict(
    batch_size=6,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        areas=[5], spheres_per_epoch=120, pipeline=pack, test_mode=True, **spheres
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PointIoUMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=3)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    # What is pretrained moves less.
    paramwise_cfg=dict(custom_keys={'encoder.blocks': dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=5.0),
)
# The cosine ends where the run does, also when max_epochs is changed.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.02, convert_to_iter_based=True),
]

custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        # On the line alpha + beta = 1 the start is close to the pretrained network.
        start=(0.9, 0.1),
        end=(0.7, 0.3),
        end_epoch=4,
        interval=2,
    )
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=True, window_size=10)
randomness = dict(seed=0)
